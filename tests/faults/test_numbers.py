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
    """Observations and rewards look well: a number inside is NaN, and the environment is reset."""
    logdir = tmp_path / "run"
    code, _, _, err = run(logdir, {"nan": "state"})
    assert code == 0, err
    steps = curves(logdir)["health/nonfinite_steps"]
    assert all(0 < count < 32 for _, count in steps)
    state = array_store.read(logdir / "checkpoints" / "128" / "state")
    stored = [x for name, x in state if name.startswith("replay.") and x.dtype.kind == "f"]
    assert len(stored) == 3, "observations, actions, rewards"
    assert all(np.isfinite(x).all() for x in stored)
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
    assert "no environment step was finite" in last
    outcome("NaN in every environment", "nothing was there to lose", last)


def test_nan_in_the_loss(run, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, _, last, err = run(logdir, {"nan": "loss"})
    assert code == 3, err
    assert "is nan after 96 iterations" in last
    assert steps(logdir) == [32, 64]
    state = dict(array_store.read(logdir / "checkpoints" / "64" / "state"))
    assert all(np.isfinite(x).all() for x in state.values() if x.dtype.kind == "f")
    outcome("NaN in a loss or a parameter", "the epoch it came in", last)


def test_counters_past_two_to_the_31(whole, tmp_path):
    """Such a run is a renamed checkpoint, whose manifest counts its gradient steps."""
    logdir, far = tmp_path / "run", 2**31 + 32
    shutil.copytree(whole, logdir)
    (logdir / "checkpoints" / "128").rename(logdir / "checkpoints" / str(far))
    result = train.train(make_config(env=COUNTER, logdir=str(logdir), iterations=far + 64))
    assert steps(logdir)[-1] == far + 64
    assert result.metrics["train/n_updates"] == 128 - 32 + 64
    assert curves(logdir)["rollout/episodes"][-1][0] == far + 64


def test_more_memory_than_there_is(tmp_path, outcome):
    config = make_config(logdir=str(tmp_path / "run"), buffer_size=10**12)
    message = r"buffer_size = 10+: the run needs about [\d,.]+ GB.*replay buffer.* has [\d,.]+ GB"
    with pytest.raises(UsageError, match=message):
        train.train(config)
    assert not (tmp_path / "run").exists()
    outcome(
        "the run needs more memory than the device has",
        "nothing",
        "both figures, and which field to lower; exit code 2",
    )
