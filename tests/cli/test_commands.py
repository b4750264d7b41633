"""The commands beside `train`, as a person types them."""

import json
import re
import shlex
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import typer
from helpers.cli import run
from helpers.envs import Counter
from helpers.runs import make_config, save_run

from mjx_sac import envs
from mjx_sac.cli import app, commands
from mjx_sac.config import TrainingError
from mjx_sac.runs.directory import write_kwargs
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.runs.resolve import attach
from mjx_sac.training.compiled import evaluate

NAMES = ["train", *commands.ALL]


@pytest.mark.parametrize("name", NAMES)
def test_every_commands_help_shows_an_example_that_is_understood(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, name, "--help")
    example = re.search(r"Example: mjx-sac (.*?)\s*$", out, flags=re.MULTILINE)
    assert code == 0
    assert example, out
    first, *arguments = shlex.split(example[1])
    assert first == name
    group = typer.main.get_command(app.make_app())
    group.commands[name].make_context(name, arguments, parent=group.make_context("mjx-sac", [name]))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_flag_of_any_command_gets_the_nearest(capsys, name):
    code, out, err = run(capsys, name, "--hepl")
    assert (code, out, err) == (2, "", "mjx-sac: --hepl: no such flag; did you mean --help?\n")
    err = run(capsys, name, "--qqqqqqqqqq")[2]
    assert err == f"mjx-sac: --qqqqqqqqqq: no such flag; `mjx-sac {name} --help` lists them\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evla", "x"], "evla: no such command; did you mean eval?"),
        (["zzzzzz"], f"zzzzzz: no such command; there are {', '.join(NAMES)}"),
        (["eval"], "Missing argument 'RUN': `mjx-sac eval --help` shows how"),
        (["eval", "x", "--epsodes", "3"], "--epsodes: no such flag; did you mean --episodes?"),
        (
            ["eval", "none"],
            "run = 'none': no such directory; `mjx-sac train` makes one, runs/<env> unless told otherwise",
        ),
        (
            ["export", "x", "--format", "tf"],
            "'tf' is not one of 'stablehlo', 'npz', 'onnx': `mjx-sac export --help` shows how",
        ),
        (
            ["info", "none"],
            "run = 'none': no such directory; `mjx-sac train` makes one, runs/<env> unless told otherwise",
        ),
        (["--vresion"], "--vresion: no such flag; did you mean --version?"),
    ],
)
def test_what_cannot_be_understood_is_one_line(capsys, monkeypatch, tmp_path, arguments, line):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("mjx-sac: ")
    assert err.endswith(f"{line}\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(TrainingError("env: broke"), 3, "env: broke"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_exit_codes_of_failure_and_interruption(capsys, monkeypatch, saved, error, code, line):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(evaluate, "evaluate_policies", fail)
    got, _, err = run(capsys, "eval", saved)
    assert (got, err.strip()) == (code, f"mjx-sac: {line}")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("commands") / "saved"
    save_run(directory)
    return directory


class Split(Counter):
    """Terminates after three steps where the episode began above 0.5, else goes on to its limit of five."""

    def step(self, state, action):
        state, step = super().step(state, action)
        return state, step._replace(
            terminated=(step.observation[0] > 0.5) & (step.observation[1] >= 3)
        )


class Noisy(gymnasium.Env):
    """Talks, gives 1 for every action within its bounds, and terminates after three steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(0, 10, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(2), {}

    def step(self, action):
        print("noise")
        self.steps += 1
        return np.zeros(2), float(0 <= action[0] <= 10), self.steps == 3, False, {}


@pytest.fixture(autouse=True, scope="module")
def _more_environments():
    envs.register("split", Split)
    envs.register("noisy", Noisy)
    envs.register("wide", type("Wide", (Counter,), {"action_size": 3}))


def test_eval_sums_up_whole_episodes(capsys, saved):
    """Five steps of rewards 0 to 4, whatever the policy does."""
    code, out, _ = run(capsys, "eval", saved, "--episodes", "3")
    assert code == 0
    assert f"{saved} at 32 iterations: 3 episodes of counter, deterministic actions" in out
    assert "mean 10.0  std 0.0  median 10.0  from 10.0 to 10.0" in out
    assert "IQM 10.0  95 % interval 10.0 to 10.0" in out
    assert "0% terminated, 100% truncated" in out


def test_eval_in_another_environment_prints_json_alone(capsys, saved):
    """More episodes than are played at once, so several rounds; ends differ by episode, and length and return go with them."""
    code, out, _ = run(
        capsys, "eval", saved, "--env", "split", "--episodes", "150", "--json", "--stochastic"
    )
    told = json.loads(out)
    assert code == 0
    assert (told["env"], told["episodes"], told["deterministic"], told["iterations"]) == (
        "split",
        150,
        False,
        32,
    )
    assert sorted(set(told["returns"])) == [0 + 1 + 2, 0 + 1 + 2 + 3 + 4]
    share = told["returns"].count(3) / 150
    assert 0.3 < share < 0.7
    assert told["terminated"] == pytest.approx(share)
    assert told["truncated"] == pytest.approx(1 - share)
    assert told["length"]["mean"] == pytest.approx(5 - 2 * share)


def test_eval_on_the_host_too_and_its_talk_is_not_in_the_json(capsys, saved):
    code, out, err = run(capsys, "eval", saved, "--env", "noisy", "--episodes", "18", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["returns"], told["terminated"], told["length"]["max"]) == ([3.0] * 18, 1.0, 3)
    assert "noise" in err


def test_eval_tells_both_sizes_where_they_differ(capsys, saved):
    code, _, err = run(capsys, "eval", saved, "--env", "wide")
    assert code == 2
    assert (
        "env = 'wide': 2 numbers in an observation and 3 in an action, the policy was trained with 2 and 1"
        in err
    )


@pytest.mark.parametrize(
    ("flag", "value", "word"), [("--env", "atn", "mean ant?"), ("--backend", "x", "backend = 'x'")]
)
def test_eval_refuses_what_is_not_there(capsys, saved, flag, value, word):
    code, _, err = run(capsys, "eval", saved, flag, value)
    assert code == 2
    assert word in err


def test_evaluation_says_how_episodes_ended_and_counts_each_once(saved):
    from mjx_sac import load_policy

    played = evaluate.evaluate_policy(load_policy(saved), env="split", episodes=40)
    np.testing.assert_array_equal(played["terminated"], played["length"] == 3)
    np.testing.assert_array_equal(played["truncated"], played["length"] == 5)


def test_export_writes_the_file_and_says_how_to_use_it(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "export", saved)
    assert code == 0
    assert re.match(r"policy\.npz: \d+ kB, counter at 32 iterations; .* within \d", out)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.npz"]


def test_export_names_the_extra_that_is_missing(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "export", saved, "--format", "onnx")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "--extra onnx" in err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a run of three epochs leaves behind."""
    directory = tmp_path_factory.mktemp("commands") / "trained"
    config = make_config(logdir=str(directory), iterations=96)
    save_run(directory, steps=(32, 64, 96), iterations=96)
    write_kwargs(attach(config, check_env=False))
    logger = EventWriter(directory, 0, pytest.fail)
    logger.log(32, {"time/fps": 7.0})
    logger.log(64, {"time/fps": 8.0, "eval/mean_reward": 12.0})
    logger.log(96, {"time/fps": 9.0, "eval/mean_reward": 10.0})
    logger.close()
    return directory


def test_info_tells_progress_returns_checkpoints_and_configuration(capsys, trained):
    code, out, _ = run(capsys, "info", trained)
    assert code == 0
    assert "96 of 96 iterations saved, 96 logged, 9 iterations/s" in out
    assert "12.0 at 64   10.0 at 96   (best 12.0 at 64)   eval/mean_reward" in out
    assert re.findall(r"^(?:checkpoints | {12})\s*(\d+)   \d", out, flags=re.MULTILINE) == [
        "32",
        "64",
        "96",
    ]
    assert "hidden_sizes = 8   (default 256,256)" in out
    assert "tau" not in out, "it has its default"
    assert "jax " in out


def test_info_as_json_and_without_jax(trained):
    code = "import sys\nfrom mjx_sac.cli import main\ntry: main()\nexcept SystemExit: print('jax' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, "info", str(trained), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert done.stderr == "False\n"
    assert told["iterations"] == {"saved": 96, "logged": 96, "total": 96}
    assert told["returns"]["eval/mean_reward"] == {"64": 12.0, "96": 10.0}
    assert told["not_default"]["episode_length"] == 5
    assert told["config"] == json.loads((trained / "kwargs.json").read_text())["config"]
    sizes = [checkpoint["bytes"] for checkpoint in told["checkpoints"]]
    files = [path for path in (trained / "checkpoints" / "96").rglob("*") if path.is_file()]
    assert sizes[-1] == sum(path.stat().st_size for path in files)
    assert (
        max(sizes) < told["bytes_on_disk"] < sum(path.stat().st_size for path in trained.rglob("*"))
    )


def test_info_of_a_run_without_checkpoint_or_with_a_damaged_one(capsys, saved, tmp_path):
    (tmp_path / "kwargs.json").write_text(
        json.dumps({"config": make_config().model_dump(mode="json")})
    )
    assert "0 of 128 iterations saved" in run(capsys, "info", tmp_path)[1]
    (tmp_path / "checkpoints" / "32").mkdir(parents=True)
    code, out, _ = run(capsys, "info", tmp_path)
    assert code == 0
    assert "0 of 128 iterations saved" in out
    assert "damaged: " in out
    (tmp_path / "kwargs.json").write_text("{")
    assert run(capsys, "info", tmp_path)[0] == 2, "nothing is left that says what it was"
    assert "32 of 128 iterations saved" in run(capsys, "info", saved)[1], (
        "without kwargs.json the checkpoint says it"
    )
