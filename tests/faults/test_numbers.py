"""Numbers that are not finite, too many or too large."""

import shutil

import numpy as np
import pytest
from helpers.evidence import COUNTER, curves
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import steps
from mjx_sac.training.host import train

pytestmark = pytest.mark.slow


def test_nan_in_the_state_of_some_environments(run, tmp_path, outcome):
    """Its observations and rewards look well: only a number inside is NaN. The environment is reset, the others go on."""
    logdir = tmp_path / "run"
    code, _, _, err = run(logdir, {"nan": "state"})
    assert code == 0, err
    steps = curves(logdir)["health/nonfinite_steps"]
    assert all(0 < count < 32 for _, count in steps)
    state = dict(array_store.read(logdir / "checkpoints" / "128" / "state"))
    assert all(
        np.isfinite(x).all()
        for name, x in state.items()
        if name.startswith("replay.") and x.dtype.kind == "f"
    )
    outcome(
        "NaN in some environments: state, observation or reward",
        "those steps",
        "`health/nonfinite_steps` counts them",
    )


def test_nan_in_the_reward_alone(run, tmp_path):
    logdir = tmp_path / "run"
    assert run(logdir, {"nan": "reward"})[0] == 0
    state = dict(array_store.read(logdir / "checkpoints" / "128" / "state"))
    assert np.isfinite(state["replay.reward"]).all()
    assert all(count > 0 for _, count in curves(logdir)["health/nonfinite_steps"])


def test_nan_in_all_environments(run, tmp_path, outcome):
    code, _, last, err = run(tmp_path / "run", {"nan": "all"})
    assert code == 3, err
    outcome("NaN in every environment", "nothing was there to lose", last)


def test_nan_in_the_loss(run, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, _, last, err = run(logdir, {"nan": "loss"})
    assert code == 3, err
    assert steps(logdir) == [32, 64]
    state = dict(array_store.read(logdir / "checkpoints" / "64" / "state"))
    assert all(np.isfinite(x).all() for x in state.values() if x.dtype.kind == "f")
    outcome("NaN in a loss or a parameter", "the epoch it came in", last)


def test_counters_past_two_to_the_31(whole, tmp_path):
    """A run that has come so far is made by renaming a checkpoint: iterations are counted nowhere but in its name."""
    logdir, far = tmp_path / "run", 2**31 + 32
    shutil.copytree(whole, logdir)
    (logdir / "checkpoints" / "128").rename(logdir / "checkpoints" / str(far))
    result = train.train(make_config(env=COUNTER, logdir=str(logdir), iterations=far + 64))
    assert steps(logdir)[-1] == far + 64
    assert result.metrics["train/n_updates"] == far + 64 - 32
    assert curves(logdir)["rollout/episodes"][-1][0] == far + 64


def test_more_memory_than_there_is(tmp_path, outcome):
    config = make_config(logdir=str(tmp_path / "run"), buffer_size=10**12)
    with pytest.raises(
        UsageError,
        match=r"buffer_size = 1000000000000: the run needs about [\d,.]+ GB.* has [\d,.]+ GB",
    ) as refusal:
        train.train(config)
    assert not (tmp_path / "run").exists()
    words = str(refusal.value)
    assert "replay buffer" in words
    outcome(
        "the run needs more memory than the device has",
        "nothing",
        "both figures, and which field to lower; exit code 2",
    )
