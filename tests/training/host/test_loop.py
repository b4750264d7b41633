"""What the host's loop keeps of a run: counts that are large, and what environments report."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Reporting
from helpers.runs import COUNTER, make_config, save_run, scalars

from mjx_sac.config import Config, UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.resolve import resolve
from mjx_sac.training.host import train


def test_the_last_of_ten_thousand_million_iterations(tmp_path):
    """The optimizers' counts are as large as they get, and stay so."""
    most, begun, directory = 2**31 - 1, 9_999_990_000, tmp_path / "run"

    def old(state):
        old = {
            name: jax.tree.map(
                lambda x: jnp.int32(most) if x.dtype == jnp.int32 else x,
                getattr(state.train, name),
            )
            for name in ("actor_optimizer", "critic_optimizer", "alpha_optimizer")
        }
        return state.replace(train=state.train.replace(**old), warm_up_left=jnp.int32(0))

    settings = {
        "env": COUNTER,
        "iterations": resolve({"env": COUNTER, "iterations": "1e10"}).iterations,
        "log_interval": 2500,
        "checkpoint_interval": 5000,
        "updates_per_iteration": 1 / 4,
    }
    save_run(directory, steps=(begun,), change=old, progress={"updates": [begun // 4]}, **settings)
    result = train.train(make_config(logdir=str(directory), **settings))
    curves = scalars(directory)
    assert list(curves["rollout/ep_rew_mean"]) == [begun + n for n in (2500, 5000, 7500, 10_000)]
    assert set(curves["rollout/ep_rew_mean"].values()) == {10.0}
    assert result.metrics["train/n_updates"] == begun // 4 + 2500
    assert list(curves["eval/mean_reward"]) == [10**10]
    assert steps(directory) == [begun, begun + 5000, 10**10]
    manifest = array_store.manifest(checkpoint_path(directory, 10**10) / "state")
    assert (manifest["iterations"], manifest["updates"]) == (10**10, [begun // 4 + 2500])
    counts = [x for x in jax.tree.leaves(result.state.train.critic_optimizer) if x.shape == ()]
    assert [int(x) for x in counts] == [most]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.state.train))


def test_a_schedule_longer_than_optimizers_count_is_refused(tmp_path):
    config = make_config(algorithm="xqc", iterations=10**10, logdir=str(tmp_path), env=COUNTER)
    with pytest.raises(UsageError, match=r"^schedule_iterations = 10000000000: .* to 2147483647"):
        train.train(config)
    fewer = config.model_copy(update={"updates_per_iteration": 2 / 1024})
    assert fewer.schedule_updates == 19_531_250
    with pytest.raises(ValueError, match="less than 2147483648"):
        Config(log_interval=2**31)


def test_what_an_environment_reports_is_logged_and_resumes(tmp_path):
    """Episodes of three steps: rewards 0, 1, 2, and 9, 8, 7 steps left to 10."""

    def run(name, **settings):
        config = make_config(logdir=str(tmp_path / name), **settings)
        return train.train(config, env=lambda: Reporting(ends_at=3))

    run("stopped", iterations=64)
    curves = scalars(tmp_path / "stopped")
    assert curves["env/reward_half"] == {32: 1.5, 64: 1.5}
    assert curves["env/left"] == {32: 8.0, 64: 8.0}
    assert list(curves["rollout/success_rate"]) == [32, 64]
    assert curves["eval/env/left"] == {64: 8.0}
    assert curves["eval/success_rate"][64] in (0, 0.5, 1), "of two episodes"
    resumed, whole = run("stopped"), run("whole")
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)
    assert resumed.metrics["env/left"] == 8.0


def test_a_run_resumes_where_other_things_were_reported(tmp_path):
    """An older version kept nothing of it; another environment may report less."""
    for directory, saved in ((tmp_path / "older", None), (tmp_path / "other", jnp.ones((4, 9)))):

        def change(state, saved=saved):
            return state.replace(episodes=state.episodes.replace(metrics=saved))

        save_run(directory, Reporting(ends_at=3), change=change, steps=(64,))
        config = make_config(logdir=str(directory), iterations=96)
        result = train.train(config, env=lambda: Reporting(ends_at=3))
        assert result.metrics["env/left"] == 8.0
