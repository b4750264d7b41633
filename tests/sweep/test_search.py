"""What a search proposes, what is kept on disk, and which trials a pruner keeps."""

import math

import numpy as np
import pytest
from helpers.runs import make_config
from optuna.trial import TrialState, create_trial

from mjx_sac.config import UsageError
from mjx_sac.sweep import search, space


def parse(*texts):
    return space.parse(texts, make_config(), ())


def proposed(how, of, past, count, seed=0):
    """Return trials and their settings."""
    trials = search.propose(how, of, seed, past, count)
    return trials, [search.settings(of, trial) for trial in trials]


def finished(trial, score, *, steps=100, pruned=False):
    """Return a proposed trial with its score; NaN for one that failed."""
    known = {"params": trial.params, "distributions": trial.distributions}
    if math.isnan(score):
        return create_trial(state=TrialState.FAIL, **known)
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    return create_trial(state=state, value=score, intermediate_values={steps: score}, **known)


def test_a_grid_is_every_combination_and_no_range():
    of = parse("tau=0.1,0.2", "hidden_sizes=8,16")
    assert search.grid_size(of) == 4
    assert [space.label(one) for one in proposed("grid", of, [], 4)[1]] == [
        "tau=0.1,hidden_sizes=8",
        "tau=0.1,hidden_sizes=16",
        "tau=0.2,hidden_sizes=8",
        "tau=0.2,hidden_sizes=16",
    ]
    with pytest.raises(UsageError, match="a range has no grid"):
        search.grid_size(parse("tau=0.1..0.2"))


@pytest.mark.parametrize("how", ["random", "optuna"])
def test_the_same_past_gives_the_same_trials_none_twice(how):
    of = parse("policy_lr=1e-5..1e-2", "tau=0.1,0.2", "target_delay=1..3")
    past, tried = [], []
    for _ in range(3):
        trials, settings = proposed(how, of, past, 5)
        assert settings == proposed(how, of, past, 5)[1]
        past += [finished(t, -abs(math.log10(t.params["policy_lr"]) + 3)) for t in trials]
        tried += settings
    assert len({space.label(one) for one in tried}) == 15
    for one in tried:
        assert 1e-5 <= one["policy_lr"] <= 1e-2
        assert one["tau"] in (0.1, 0.2)
        assert one["target_delay"] in (1, 2, 3)
    assert proposed(how, of, [], 5, seed=1)[1] != proposed(how, of, [], 5)[1]


@pytest.mark.parametrize("how", ["random", "optuna"])
def test_a_small_space_is_exhausted(how):
    of = parse("tau=0.1,0.2,0.3")
    first, settings = proposed(how, of, [], 1)
    rest = proposed(how, of, [finished(first[0], math.nan)], 8)[1]
    assert sorted(one["tau"] for one in settings + rest) == [0.1, 0.2, 0.3]


def test_optuna_learns_from_pruned_and_failed_trials_too():
    """The best is 1e-3: proposals after thirty trials lie nearer to it than random draws."""
    of, distances = parse("policy_lr=1e-6..1"), []
    for seed in range(3):
        trials, settings = proposed("random", of, [], 30, seed)
        distance = [abs(math.log10(one["policy_lr"]) + 3) for one in settings]
        past = [
            finished(t, math.nan if d > 2.5 else -d, steps=50 if d > 1.5 else 100, pruned=d > 1.5)
            for t, d in zip(trials, distance, strict=True)
        ]
        found = proposed("optuna", of, past, 8, seed)[1]
        distances += [abs(math.log10(one["policy_lr"]) + 3) for one in found]
        assert {trial.state.name for trial in past} == {"COMPLETE", "PRUNED", "FAIL"}, "unchanged"
    assert np.median(distances) < 1 < np.median(distance)


def test_a_study_survives_a_kill_but_no_damage(tmp_path):
    """A killed process may leave half a line and Optuna's lock, for which it waits 30 seconds."""
    trial = search.propose("random", parse("tau=0.1..0.2"), 0, [], 1)[0]
    search.open_study(tmp_path).add_trial(trial)
    path = tmp_path / search.FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    (tmp_path / f"{search.FILE}.lock").symlink_to(path)
    study = search.open_study(tmp_path)
    study.add_trial(trial)
    assert len(search.open_study(tmp_path).trials) == 2
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(UsageError, match="is damaged"):
        search.open_study(tmp_path)


def test_rungs_are_whole_epochs_in_the_first_half():
    """Epochs of 32 iterations, the first of which warms up."""
    assert search.rungs(make_config(iterations=320), "halving") == [3 * 32, 5 * 32, 320]
    assert search.rungs(make_config(iterations=320), "none") == [320]
    assert search.rungs(make_config(), "median") == [64, 128], "a quarter of 128 is the warm-up"
    with pytest.raises(UsageError, match="raise iterations"):
        search.rungs(make_config(iterations=64), "halving")


def test_survivors_by_hand():
    scores = {0: 1.0, 1: 3.0, 2: 2.0, 3: 0.0}
    assert search.survivors("halving", [0, 1, 2, 3, 4], scores) == {0, 1, 2}, "4 failed"
    assert search.survivors("halving", [4, 5, 6, 0], scores) == {0}
    assert search.survivors("median", [0, 1, 2, 4], {0: 1.0, 1: 3.0, 2: 2.0}) == {1, 2}
    earlier = {5: 9.0, 6: 9.0, 7: 9.0}  # the median of all is 6
    assert search.survivors("median", [0, 1, 2], {0: 1.0, 1: 3.0, 2: 2.0} | earlier) == set()
    assert search.survivors("median", [4], {}) == set()
