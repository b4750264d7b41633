"""Sweeps: how settings become programs, what a pruner saves, and that nothing is trained twice."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import cli
from helpers.runs import SMALL, make_config

from mjx_sac.cli import app
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import steps
from mjx_sac.sweep import job, plot, search, sweep
from mjx_sac.sweep.job import Job, Outcome
from mjx_sac.training.host import programs

FLAGS = [f"--{name}={search.show(value)}" for name, value in SMALL.items() if name != "env"]


def make_plan(directory, *params, iterations=320, **how):
    base = make_config(
        logdir=str(directory), iterations=iterations, num_seeds=how.pop("num_seeds", 1)
    )
    return sweep.Plan(base, search.parse(params, base, ()), **how)


def play(plan, *, score=lambda config: config.tau, stop_after=None):
    """The sweep with every agent's score made up from its configuration, and the jobs that were executed."""
    executed = []

    def execute(todo, done):
        for one in todo:
            if len(executed) == stop_after:
                raise KeyboardInterrupt
            executed.append(one)
            agents = one.config.population()
            curves = [[(one.config.iterations, score(agent))] for agent in agents]
            done(one, Outcome(curves, [curve[-1][1] for curve in curves], 0.0, 1.0, "here"))

    plan.directory.mkdir(exist_ok=True)
    played = sweep.Sweep(plan)
    try:
        played.run(execute)
    except KeyboardInterrupt:
        assert stop_after is not None
    return played, executed


def test_numbers_share_a_program_and_shapes_have_one_each(tmp_path):
    plan = make_plan(
        tmp_path, "policy_lr=0.1,0.2", "hidden_sizes=8,8x8", "tau=0.1,0.2", num_seeds=2
    )
    played, executed = play(plan)
    assert [(one.name, one.trials, one.config.hidden_sizes) for one in executed] == [
        ("hidden_sizes=8", (0, 1, 4, 5), (8,)),
        ("hidden_sizes=8x8", (2, 3, 6, 7), (8, 8)),
    ]
    assert executed[0].config.members == tuple(
        {"policy_lr": p, "tau": t} for p in (0.1, 0.2) for t in (0.1, 0.2)
    )
    assert executed[0].config.run_dir == str(tmp_path / "hidden_sizes=8")
    best = played.summary()["trials"][0]
    assert (best["settings"]["tau"], best["score"], best["scores"], best["state"]) == (
        0.2,
        0.2,
        [0.2, 0.2],
        "whole",
    )


def test_a_number_that_is_auto_is_no_number(tmp_path):
    _, executed = play(make_plan(tmp_path, "target_entropy=auto,-1,-2"))
    assert [(one.name, one.config.members) for one in executed] == [
        ("target_entropy=auto", ()),
        ("all", ({"target_entropy": -1.0}, {"target_entropy": -2.0})),
    ]


def test_population_and_workers_cut_a_wave(tmp_path):
    assert [
        one.trials for one in play(make_plan(tmp_path / "a", "tau=0.1,0.2,0.3", population=2))[1]
    ] == [(0, 1), (2,)]
    assert [
        one.trials for one in play(make_plan(tmp_path / "b", "tau=0.1,0.2,0.3", workers=3))[1]
    ] == [(0,), (1,), (2,)]
    plan = make_plan(
        tmp_path / "c", "tau=0.1..0.2", search="random", trials=7, population=2, workers=2
    )
    assert [(one.name, one.trials) for one in play(plan)[1]] == [
        ("wave_0,part_0", (0, 1)),
        ("wave_0,part_1", (2, 3)),
        ("wave_1,part_0", (4, 5)),
        ("wave_1,part_1", (6,)),
    ]


def test_on_the_host_every_setting_is_a_job_and_every_seed_a_run(tmp_path):
    _, executed = play(make_plan(tmp_path, "tau=0.1,0.2", on_host=True, num_seeds=2))
    assert [(one.trials, one.config.tau, one.config.members) for one in executed] == [
        ((0,), 0.005, ({"tau": 0.1},)),
        ((1,), 0.005, ({"tau": 0.2},)),
    ]
    runs = job.alone(executed[1].config)
    assert [(one.seed, one.tau, one.is_population) for one in runs] == [
        (0, 0.2, False),
        (1, 0.2, False),
    ]
    assert [one.run_dir for one in runs] == [f"{tmp_path}/part_1/tau=0.2,seed_{i}" for i in (0, 1)]


def test_halving_trains_half_as_much(tmp_path):
    """Eight settings of 320 iterations: 8 until 96, 4 until 160, 2 until the end."""
    plan = make_plan(
        tmp_path,
        f"tau={','.join(f'0.{i}' for i in (4, 1, 8, 2, 7, 3, 6, 5))}",
        pruner="halving",
        num_seeds=2,
    )
    played, executed = play(plan)
    assert [(one.trials, one.start, one.config.iterations) for one in executed] == [
        (tuple(range(8)), 0, 96),
        ((2, 4, 6, 7), 96, 160),
        ((2, 4), 160, 320),
    ]
    assert executed[1].parent == str(tmp_path / "all")
    assert executed[1].kept == (4, 5, 8, 9, 12, 13, 14, 15), "both seeds of each"
    assert [member["tau"] for member in executed[2].config.members] == [0.8, 0.7]
    assert executed[2].kept == (0, 1, 2, 3)
    summary = played.summary()
    assert summary["agent_iterations"] == 2 * (8 * 96 + 4 * (160 - 96) + 2 * (320 - 160))
    assert summary["agent_iterations_without_pruner"] == 2 * 8 * 320
    assert [(row["trial"], row["state"], row["iterations"]) for row in summary["trials"][:5]] == [
        (2, "whole", 320), (4, "whole", 320), (6, "pruned", 160), (7, "pruned", 160), (0, "pruned", 96),
    ]  # fmt: skip


def test_the_median_is_of_all_so_far_and_programs_have_few_sizes(tmp_path):
    """The first wave's scores are 0.5 to 0.8, the second's 0.55, 0.75, 0.1 and 0.2: one of its four is above the median of all."""
    plan = make_plan(
        tmp_path, "tau=0.1..0.9", search="random", trials=8, population=4, pruner="median"
    )
    scores = iter([0.5, 0.6, 0.7, 0.8, 0.55, 0.75, 0.1, 0.2])
    by_tau = {}

    def score(config):
        if config.tau not in by_tau:
            by_tau[config.tau] = next(scores)
        return by_tau[config.tau]

    _, executed = play(plan, score=score)
    sizes = [(one.name, len(one.trials)) for one in executed]
    assert sizes == [
        ("wave_0", 4), ("wave_0,rung_1", 2), ("wave_0,rung_2", 1),
        ("wave_1", 4), ("wave_1,rung_1", 1), ("wave_1,rung_2", 1),
    ]  # fmt: skip
    assert executed[5].parent is None, "nobody left: it goes on in the same directory"
    assert executed[5].config.run_dir == executed[4].config.run_dir


def test_whoever_fails_is_last_and_never_goes_on(tmp_path):
    plan = make_plan(tmp_path, "tau=0.1,0.2,0.3,0.4", pruner="halving")
    played, executed = play(plan, score=lambda config: math.nan if config.tau > 0.15 else 1.0)
    assert [one.trials for one in executed] == [(0, 1, 2, 3), (0,), (0,)]
    rows = played.summary()["trials"]
    assert [(row["trial"], row["state"], row["score"]) for row in rows] == [
        (0, "whole", 1.0), (1, "failed", None), (2, "failed", None), (3, "failed", None),
    ]  # fmt: skip
    json.loads(json.dumps(rows, allow_nan=False))


@pytest.mark.parametrize("how", ["grid", "random", "optuna"])
@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_sweep_that_was_stopped_is_played_on_and_nothing_is_executed_twice(
    tmp_path, how, stop_after
):
    params = (
        ("tau=0.1,0.2,0.3,0.4", "hidden_sizes=8,8x8")
        if how == "grid"
        else ("tau=0.1..0.9", "hidden_sizes=8,8x8")
    )
    more = {} if how == "grid" else {"search": how, "trials": 8, "population": 4}
    whole, all_jobs = play(make_plan(tmp_path / "whole", *params, pruner="halving", **more))
    plan = make_plan(tmp_path / "again", *params, pruner="halving", **more)
    _, first = play(plan, stop_after=stop_after)
    again, second = play(plan)
    assert len(first) == stop_after
    assert [one.name for one in first + second] == [one.name for one in all_jobs]
    strip = [{**row, "run": None} for row in again.summary()["trials"]]
    assert strip == [{**row, "run": None} for row in whole.summary()["trials"]]
    assert play(plan)[1] == []


def test_more_trials_go_on_and_anything_else_is_another_sweep(tmp_path):
    params = {"search": "random", "population": 2}
    assert len(play(make_plan(tmp_path, "tau=0.1..0.2", trials=2, **params))[1]) == 1
    played, executed = play(make_plan(tmp_path, "tau=0.1..0.2", trials=4, **params))
    assert (len(executed), len(played.trials)) == (1, 4)
    for other in (
        make_plan(tmp_path, "tau=0.1..0.3", trials=4, **params),
        make_plan(tmp_path, "tau=0.1..0.2", trials=4, iterations=640, **params),
        make_plan(tmp_path, "tau=0.1..0.2", trials=4, search="optuna", population=2),
    ):
        with pytest.raises(UsageError, match="start anew with --overwrite"):
            play(other)


def test_the_score_is_the_mean_of_the_last_quarter():
    curve = [(75, 100.0), (80, 1.0), (100, 3.0)]
    assert job.score(curve, 100, 100) == 2.0
    assert math.isnan(job.score(curve, 80, 100)), "it stopped being finite"
    assert job.score([(50, 7.0)], 100, 100) == 7.0
    assert math.isnan(job.score([], 100, 100))


@pytest.mark.parametrize(
    "params",
    [
        ["tau=0.1,0.2"],
        ["tau=0.1,0.2", "policy_lr=1e-4,1e-2"],
        ["tau=0.01..0.9", "hidden_sizes=8,8x8", "q_lr=1,2"],
    ],
)
def test_pictures_show_every_setting_and_the_best(tmp_path, monkeypatch, params):
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, out: (kept.append(figure), save(figure, out))
    )
    how = {"search": "random", "trials": 6} if ".." in params[0] else {}
    plan = make_plan(tmp_path, *params, num_seeds=2, **how)
    played, _ = play(
        plan,
        score=lambda config: (
            math.nan if config.seed and config.tau == 0.1 else config.tau + config.seed
        ),
    )
    plot.draw(plan.space, played.trials, plan.metric, "title", tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    axes = kept[0].axes[0]
    best = max(trial.score for trial in played.trials if math.isfinite(trial.score))
    if len(params) == 1:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best: 0.2"]
    elif len(params) == 2:
        texts = [text.get_text() for text in axes.texts]
        assert sorted(texts) == ["0.7\n0.2 to 1.2"] * 2 + ["failed"] * 2
        assert len(axes.patches) == 1
    else:
        (line,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert line.get_ydata()[-1] == 1.0, "the score's axis ends at the best"
        assert f"best: {best:,.4g}" in [text.get_text() for text in kept[0].legends[0].get_texts()]


# From here on agents are trained.


def run(capsys, *arguments):
    return cli.run(capsys, "sweep", *arguments)


GRID = ["--param", "policy_lr=1e-3,1e-2", "--param", "tau=0.1,0.2"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A grid over two numbers, and how many programs it took."""
    directory = tmp_path_factory.mktemp("sweep") / "grid"
    made = []
    with pytest.MonkeyPatch.context() as patch:
        make = programs.Programs.__init__
        patch.setattr(
            programs.Programs, "__init__", lambda self, *a: (made.append(a), make(self, *a))[1]
        )
        with pytest.raises(SystemExit) as stop:
            app.main(["sweep", "--env", "counter", *FLAGS, *GRID, "--logdir", str(directory)])
    assert stop.value.code == 0
    return directory, made


def test_a_grid_of_numbers_is_one_program(swept):
    directory, made = swept
    assert len(made) == 1
    told = json.loads((directory / "sweep.json").read_text())
    assert [row["settings"] for row in sorted(told["trials"], key=lambda row: row["trial"])] == [
        {"policy_lr": p, "tau": t} for p in (1e-3, 1e-2) for t in (0.1, 0.2)
    ]
    assert {row["score"] for row in told["trials"]} == {10.0}, (
        "an episode of the counter gives 0 + 1 + 2 + 3 + 4"
    )
    assert told["agent_iterations"] == 4 * 128


def test_a_finished_sweep_shows_its_table_again_and_writes_what_it_found(capsys, swept):
    directory, _ = swept
    code, out, _ = run(capsys, "--env", "counter", *FLAGS, *GRID, "--logdir", directory)
    assert code == 0
    assert "building" not in out
    assert "policy_lr" in out
    assert "best: --policy_lr 0.001 --tau 0.1" in out
    rows = (directory / "sweep.csv").read_text().splitlines()
    assert rows[0] == "trial,policy_lr,tau,score,low,high,iterations,state,run"
    assert rows[1].startswith("0,0.001,0.1,10.0,10.0,10.0,128,whole,")
    assert (directory / "sweep.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(
        run(capsys, "--env", "counter", *FLAGS, *GRID, "--logdir", directory, "--json")[1]
    )
    assert len(told["trials"]) == 4


def test_survivors_go_on_from_their_very_state(capsys, tmp_path):
    """As many agents as the grid has, so the first program is compiled already."""
    space = ["--param", "policy_lr=1e-3..1e-2", "--param", "tau=0.1..0.2"]
    how = ["--search", "random", "--trials", "4", "--pruner", "halving", "--max_to_keep", "9"]
    code, out, _ = run(capsys, "--env", "counter", *FLAGS, *space, *how, "--logdir", tmp_path)
    assert code == 0
    assert "25% saved by the pruner" in out  # of 4 * 128: 2 * 64
    read = {
        name: dict(array_store.read(tmp_path / name / "checkpoints" / "64" / "state"))
        for name in ("wave_0", "wave_0,rung_1")
    }
    assert steps(tmp_path / "wave_0,rung_1") == [64, 96, 128]
    kept = json.loads((tmp_path / "sweep.json").read_text())["jobs"]["wave_0,rung_1"]["trials"]
    for name, array in read["wave_0,rung_1"].items():
        parent = read["wave_0"][name]
        np.testing.assert_array_equal(array, parent[kept] if parent.ndim else parent)


BAD = [
    ([], "nothing varies"),
    (["--param", "tau=0.1,2"], "tau = '2'"),
    (["--param", "tua=0.1"], "did you mean tau?"),
    (["--param", "tau=0.1..0.2"], "a range has no grid"),
    (["--param", "tau=0.1", "--tau", "0.2"], "has a fixed value too"),
    (["--param", "tau=0.1", "--trials", "3"], "a grid tries every combination"),
    (["--param", "tau=0.1", "--members", '[{"tau": 0.1}]'], "a sweep makes them itself"),
    (["--param", "tau=0.1", "--episodes_per_eval", "0"], "--metric rollout/ep_rew_mean"),
    (
        ["--param", "tau=0.1", "--pruner", "halving", "--iterations", "64"],
        "none in the first half is evaluated",
    ),
    (["--param", "tau=0.1", "--workers", "2"], "say --ray local"),
    (["--param", "tau=0.1", "--ray", "nowhere"], "no address"),
    (["--param", "tau=0.1", "--ray", "127.0.0.1:9"], "nobody answers"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    capsys, monkeypatch, tmp_path, arguments, words
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "--env", "counter", *FLAGS, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err, err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "extra"),
    [(["--search", "optuna"], "--extra tune"), (["--ray", "local"], "--extra ray")],
)
def test_an_extra_that_is_missing_is_named(capsys, monkeypatch, tmp_path, flags, extra):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "--env", "counter", *FLAGS, "--param", "tau=0.1", *flags)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert extra in err


def test_a_metric_that_is_not_there_gets_the_nearest(swept):
    directory, _ = swept
    config = make_config(logdir=str(directory / "all"), members=({"tau": 0.1, "policy_lr": 1e-3},))
    with pytest.raises(UsageError, match="did you mean eval/mean_reward"):
        job.measure(config, "eval/mean_rewrad")


def test_only_numbers_that_stopped_being_finite_end_a_setting_for_good(monkeypatch, tmp_path):
    """A full disk, say, ends the sweep, and the same command goes on."""
    from mjx_sac.config import NonFiniteError
    from mjx_sac.training.host import train as train_lib

    def fail(error):
        def train(config, **_):
            raise error

        monkeypatch.setattr(train_lib, "train", train)
        return job.run(Job("all", (0,), make_config(logdir=str(tmp_path))), "eval/mean_reward")

    assert fail(NonFiniteError("nan")).error == "nan"
    with pytest.raises(TrainingError, match="disk"):
        fail(TrainingError("disk"))


AIM = '''
import jax, jax.numpy as jnp
from mjx_sac.envs.base import State
from mjx_sac.types import Step


class Aim:
    """Reward is 1 minus the distance of the action from the observation."""

    observation_size = action_size = 1

    def reset(self, key):
        return State(jax.random.uniform(key, (1,)), ())

    def step(self, state, action):
        return state, Step(state.observation, 1.0 - jnp.abs(action[0] - state.observation[0]), jnp.array(False), jnp.array(False))
'''
THREE = ["--param", "policy_lr=1e-3,3e-3,1e-2", "--population", "1"]


def start(directory, *arguments):
    """The command in a process of its own, in a directory that has the environment."""
    directory.mkdir(exist_ok=True)
    (directory / "aim.py").write_text(AIM)
    command = [
        sys.executable,
        "-m",
        "mjx_sac",
        "sweep",
        "--env",
        "aim:Aim",
        *FLAGS,
        *map(str, arguments),
        "--logdir",
        "out",
    ]
    return subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def events(directory):
    return sorted(path.name for path in directory.rglob("events.*"))


def test_a_sweep_goes_on_after_a_sigkill(tmp_path):
    """Killed while its second program trains: the first is not touched again, and nothing is missing."""
    out = tmp_path / "a" / "out"
    process = start(tmp_path / "a", *THREE)
    while not (out / "part_1").is_dir():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = events(out / "part_0")
    assert json.loads((out / "sweep.json").read_text())["jobs"].keys() == {"part_0"}
    again = start(tmp_path / "a", *THREE)
    assert again.wait() == 0, again.stdout.read()
    assert events(out / "part_0") == before
    assert "part_0" not in again.stdout.read()
    told = json.loads((out / "sweep.json").read_text())
    assert [row["state"] for row in told["trials"]] == ["whole"] * 3
    assert told["agent_iterations"] == 3 * 128


def test_two_workers_of_rays_train_at_the_same_time(tmp_path):
    """A real cluster on this machine: two processes, each a job, at overlapping times; the results are those of this process."""
    process = start(
        tmp_path / "ray",
        "--param",
        "policy_lr=1e-3,3e-3",
        "--ray",
        "local",
        "--workers",
        "2",
        "--pruner",
        "none",
    )
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    told = json.loads((tmp_path / "ray" / "out" / "sweep.json").read_text())
    one, two = told["jobs"].values()
    assert one["process"] != two["process"]
    assert str(process.pid) not in (one["process"].split(":")[1], two["process"].split(":")[1])
    assert max(one["began"], two["began"]) < min(
        one["began"] + one["seconds"], two["began"] + two["seconds"]
    )
    assert [row["state"] for row in told["trials"]] == ["whole", "whole"]
    assert "best: --policy_lr" in output
