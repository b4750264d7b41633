"""How settings become programs, what a pruner saves, and that nothing is executed twice."""

import dataclasses
import json
import math

import pytest
from helpers.sweeps import make_plan, play

from mjx_sac.config import UsageError
from mjx_sac.sweep import job, search, sweep


def test_numbers_share_a_program_and_shapes_do_not(tmp_path):
    params = ("policy_lr=0.1,0.2", "hidden_sizes=8,8x8", "tau=0.1,0.2")
    played, executed = play(make_plan(tmp_path, *params, num_seeds=2))
    assert [(one.name, one.trials, one.config.hidden_sizes) for one in executed] == [
        ("hidden_sizes=8", (0, 1, 4, 5), (8,)),
        ("hidden_sizes=8x8", (2, 3, 6, 7), (8, 8)),
    ]
    assert executed[0].config.members == tuple(
        {"policy_lr": p, "tau": t} for p in (0.1, 0.2) for t in (0.1, 0.2)
    )
    assert executed[0].config.run_dir == str(tmp_path / "hidden_sizes=8")
    best = played.summary()["trials"][0]
    assert best["settings"] == {"policy_lr": 0.1, "hidden_sizes": (8,), "tau": 0.2}
    assert (best["score"], best["scores"], best["state"]) == (0.2, [0.2, 0.2], "completed")


def test_a_number_that_is_auto_is_no_number(tmp_path):
    _, executed = play(make_plan(tmp_path, "target_entropy=auto,-1,-2"))
    assert [(one.name, one.config.members) for one in executed] == [
        ("target_entropy=auto", ()),
        ("all", ({"target_entropy": -1.0}, {"target_entropy": -2.0})),
    ]


def test_population_and_workers_cut_a_wave(tmp_path):
    def trials(name, **how):
        return [one.trials for one in play(make_plan(tmp_path / name, "tau=0.1,0.2,0.3", **how))[1]]

    assert trials("a", population=2) == [(0, 1), (2,)]
    assert trials("b", workers=3) == [(0,), (1,), (2,)]
    how = {"search": "random", "trials": 7, "population": 2, "workers": 2}
    _, executed = play(make_plan(tmp_path / "c", "tau=0.1..0.2", **how))
    assert [(one.name, one.trials) for one in executed] == [
        ("wave_0,part_0", (0, 1)),
        ("wave_0,part_1", (2, 3)),
        ("wave_1,part_0", (4, 5)),
        ("wave_1,part_1", (6,)),
    ]


def test_on_the_host_every_seed_is_a_run(tmp_path):
    _, executed = play(make_plan(tmp_path, "tau=0.1,0.2", on_host=True, num_seeds=2))
    assert [(one.trials, one.config.tau, one.config.members) for one in executed] == [
        ((0,), 0.005, ({"tau": 0.1},)),
        ((1,), 0.005, ({"tau": 0.2},)),
    ]
    runs = job.single_runs(executed[1].config)
    assert [(one.seed, one.tau, one.is_population) for one in runs] == [
        (0, 0.2, False),
        (1, 0.2, False),
    ]
    assert [one.run_dir for one in runs] == [f"{tmp_path}/part_1/tau=0.2,seed_{i}" for i in (0, 1)]


def test_halving_trains_half_as_much(tmp_path):
    """Eight settings of 320 iterations: 8 until 96, 4 until 160, 2 until the end."""
    values = ",".join(f"0.{i}" for i in (4, 1, 8, 2, 7, 3, 6, 5))
    played, executed = play(make_plan(tmp_path, f"tau={values}", pruner="halving", num_seeds=2))
    assert [(one.trials, one.rung, one.config.iterations) for one in executed] == [
        (tuple(range(8)), 0, 96),
        ((2, 4, 6, 7), 1, 160),
        ((2, 4), 2, 320),
    ]
    assert executed[1].parent == str(tmp_path / "all")
    assert executed[1].kept == (4, 5, 8, 9, 12, 13, 14, 15), "both seeds of each"
    assert [member["tau"] for member in executed[2].config.members] == [0.8, 0.7]
    assert executed[2].kept == (0, 1, 2, 3)
    summary = played.summary()
    assert summary["agent_iterations"] == 2 * (8 * 96 + 4 * (160 - 96) + 2 * (320 - 160))
    assert summary["agent_iterations_without_pruner"] == 2 * 8 * 320
    assert summary["seconds"] == pytest.approx(3.0), "one for each job"
    assert [(row["trial"], row["state"], row["iterations"]) for row in summary["trials"][:5]] == [
        (2, "completed", 320),
        (4, "completed", 320),
        (6, "pruned", 160),
        (7, "pruned", 160),
        (0, "pruned", 96),
    ]


def test_the_median_is_of_all_so_far(tmp_path):
    """Scores are 0.5 to 0.8, then 0.55, 0.75, 0.1 and 0.2, of which one is above the median."""
    how = {"search": "random", "trials": 8, "population": 4, "pruner": "median"}
    scores, by_tau = iter([0.5, 0.6, 0.7, 0.8, 0.55, 0.75, 0.1, 0.2]), {}

    def score(config):
        if config.tau not in by_tau:
            by_tau[config.tau] = next(scores)
        return by_tau[config.tau]

    _, executed = play(make_plan(tmp_path, "tau=0.1..0.9", **how), score=score)
    assert [(one.name, one.rung, len(one.trials)) for one in executed] == [
        ("wave_0", 0, 4),
        ("wave_0", 1, 2),
        ("wave_0", 2, 1),
        ("wave_1", 0, 4),
        ("wave_1", 1, 1),
        ("wave_1", 2, 1),
    ]
    assert executed[5].parent is None, "nothing was pruned: it continues in the same directory"
    assert executed[5].config.run_dir == executed[4].config.run_dir


def test_a_schedule_is_over_all_iterations_not_a_rung(tmp_path):
    _, executed = play(make_plan(tmp_path, "tau=0.1,0.2,0.3,0.4", pruner="halving"))
    assert {(one.config.iterations, one.config.schedule_iterations) for one in executed} == {
        (96, 320),
        (160, 320),
        (320, 320),
    }


def test_a_sweep_that_says_losses_resumes(tmp_path):
    """As older versions wrote it."""
    plan = make_plan(tmp_path, "tau=0.1,0.2")
    played, _ = play(plan)
    stored = {k: x for k, x in plan.fixed().items() if k != "algorithm"}
    played.study.set_user_attr("plan", {**stored, "losses": None})
    assert play(plan)[1] == []


def test_the_next_best_fill_a_program_up(tmp_path):
    """Two programs; the better half of all is 3 of 4 in one, which stays whole, and 1 of 4."""
    scores = {(8,): [0.9, 0.8, 0.7, 0.1], (8, 8): [0.85, 0.2, 0.3, 0.4]}
    plan = make_plan(
        tmp_path, "hidden_sizes=8,8x8", "tau=0.1,0.2,0.3,0.4", pruner="halving", iterations=128
    )
    score = lambda config: scores[config.hidden_sizes][round(config.tau * 10) - 1]  # noqa: E731
    _, executed = play(plan, score=score)
    assert [one.trials for one in executed] == [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3), (4,)]


def test_a_failed_setting_is_last_and_never_continues(tmp_path):
    plan = make_plan(tmp_path, "tau=0.1,0.2,0.3,0.4", pruner="halving", num_seeds=2)
    fails = lambda config: config.tau > 0.15 and config.seed == 1  # noqa: E731
    played, executed = play(plan, score=lambda config: math.nan if fails(config) else 1.0)
    assert [one.trials for one in executed] == [(0, 1, 2, 3), (0,), (0,)]
    rows = json.loads((tmp_path / "sweep.json").read_text(), parse_constant=pytest.fail)["trials"]
    assert [(row["trial"], row["state"], row["score"], row["scores"]) for row in rows] == [
        (0, "completed", 1.0, [1.0, 1.0]),
        (1, "failed", None, [1.0, None]),
        (2, "failed", None, [1.0, None]),
        (3, "failed", None, [1.0, None]),
    ]
    assert [trial.state.name for trial in played.study.trials] == ["COMPLETE"] + 3 * ["FAIL"]


@pytest.mark.parametrize("how", ["grid", "random", "optuna"])
@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_stopped_sweep_executes_nothing_twice(tmp_path, how, stop_after):
    tau = "tau=0.1,0.2,0.3,0.4" if how == "grid" else "tau=0.1..0.9"
    more = {} if how == "grid" else {"search": how, "trials": 8, "population": 4}
    params = (tau, "hidden_sizes=8,8x8")
    at_once, all_jobs = play(make_plan(tmp_path / "a", *params, pruner="halving", **more))
    plan = make_plan(tmp_path / "b", *params, pruner="halving", **more)
    _, first = play(plan, stop_after=stop_after)
    resumed, second = play(plan)
    assert len(first) == stop_after
    assert [(j.name, j.rung) for j in first + second] == [(j.name, j.rung) for j in all_jobs]
    rows = [[{**row, "run": 0} for row in one.summary()["trials"]] for one in (resumed, at_once)]
    assert rows[0] == rows[1]
    assert play(plan)[1] == []


def test_any_line_can_be_the_last_one_written(tmp_path):
    """Cut after each line, the study gives the same trials and scores again."""
    how = {"search": "optuna", "trials": 5, "population": 3, "pruner": "halving"}
    plan = make_plan(tmp_path, "tau=0.1..0.9", iterations=128, **how)
    rows = play(plan)[0].summary()["trials"]
    lines = (tmp_path / search.FILE).read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        (tmp_path / search.FILE).write_bytes(b"".join(lines[:count]))
        assert play(plan)[0].summary()["trials"] == rows, count


def test_more_trials_resume_and_anything_else_is_refused(tmp_path):
    params = {"search": "random", "population": 2}
    assert len(play(make_plan(tmp_path, "tau=0.1..0.2", trials=2, **params))[1]) == 1
    played, executed = play(make_plan(tmp_path, "tau=0.1..0.2", trials=4, **params))
    assert (len(executed), len(played.study.trials)) == (1, 4)
    for name, other in {
        "param": make_plan(tmp_path, "tau=0.1..0.3", trials=4, **params),
        "iterations": make_plan(tmp_path, "tau=0.1..0.2", trials=4, iterations=640, **params),
        "search": make_plan(tmp_path, "tau=0.1..0.2", trials=4, search="optuna", population=2),
    }.items():
        with pytest.raises(UsageError, match=f"with {name} .* restart with --overwrite"):
            play(other)
    sweep.clear(tmp_path)
    assert len(play(make_plan(tmp_path, "tau=0.1..0.3", trials=4, **params))[1]) == 2


def test_it_may_be_carried_out_otherwise_when_it_resumes(tmp_path):
    """Also by a version that has more hyperparameters than the one that began it."""
    plan = make_plan(tmp_path, "tau=0.1,0.2")
    begun, _ = play(plan)
    without = {k: x for k, x in begun.study.user_attrs["plan"].items() if k != "activation"}
    begun.study.set_user_attr("plan", without)
    how = {"device": "cpu", "num_devices": 1, "max_to_keep": 1, "env_timeout": 9.0}
    base = plan.base.model_copy(update=how)
    assert play(dataclasses.replace(plan, base=base))[1] == []
    base = plan.base.model_copy(update={"activation": "tanh"})
    with pytest.raises(UsageError, match=r'activation "relu" \(now "tanh"\)'):
        play(dataclasses.replace(plan, base=base))


def test_settings_that_do_not_fit_end_it_before_training(tmp_path):
    plan = make_plan(tmp_path, "batch_size=8,64", "buffer_size=16,64")
    with pytest.raises(UsageError, match="buffer_size 16 is smaller than batch_size 64"):
        play(plan)
    assert not sweep.Sweep(plan).study.trials


def test_a_sweep_without_results_can_still_change(tmp_path):
    play(make_plan(tmp_path, "tau=0.1,0.2"), stop_after=0)
    assert len(play(make_plan(tmp_path, "tau=0.1,0.2,0.3"))[0].study.trials) == 3


def test_clearing_removes_the_sweep_and_nothing_else(tmp_path):
    play(make_plan(tmp_path, "tau=0.1,0.2"))
    runs = ("all", "all/tau=0.1", "film", "host/seed_0")
    files = [f"{run}/{name}" for run in runs for name in ("kwargs.json", "lock", "checkpoints/3/x")]
    for name in (*files, "film/mine.mp4", "mine/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    sweep.clear(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"film", "film/mine.mp4", "mine", "mine/notes.txt"}


def test_the_tracked_runs_of_a_sweep_are_a_group(tmp_path):
    def groups(name, **changes):
        plan = make_plan(tmp_path / name, "hidden_sizes=8,8x8")
        base = plan.base.model_copy(update={"track": "trackio", **changes})
        _, executed = play(dataclasses.replace(plan, base=base))
        return {(one.config.track, one.config.track_group) for one in executed}

    assert groups("a") == {("trackio", str(tmp_path / "a"))}
    assert groups("b", track_group="mine") == {("trackio", "mine")}
