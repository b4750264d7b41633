"""When gradient steps are taken, what is logged of them, and how they are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter
from helpers.runs import make_config, scalars

from mjx_sac.config import UsageError
from mjx_sac.losses import Losses, critic_loss
from mjx_sac.training.host import train


def with_metric(name, value):
    """The critics' loss, which reports one thing more."""

    def loss(*args, **kwargs):
        loss, metrics = critic_loss(*args, **kwargs)
        return loss, {**metrics, name: value}

    return Losses(critic=loss)


def test_an_update_every_fourth_vector_step(tmp_path):
    """Vector steps 1 and 2 only warm up, so it is 6, 10, 14, 18 and 22; an epoch has three."""
    settings = {
        "num_envs": 1, "updates_per_iteration": "1/4", "warm_up_steps": 2, "log_interval": 3,
        "checkpoint_interval": 3, "iterations": 24, "episodes_per_eval": 0,
    }  # fmt: skip
    losses, runs = with_metric("penalty", 7.0), {}
    for name, last in (("whole", 24), ("resumed", 15)):
        config = make_config(logdir=str(tmp_path / name), **settings)
        stop = [lambda iterations, *_, last=last: iterations < last]
        runs[name] = train.train(config, losses=losses, callbacks=stop)
    assert int(runs["resumed"].state.since_update) == 1, "one vector step after the 14th"
    runs["resumed"] = train.train(config, losses=losses)
    for a, b in zip(*(jax.tree.leaves(run.state) for run in runs.values()), strict=True):
        np.testing.assert_array_equal(a, b)
    updates = dict(zip(range(3, 25, 3), [0, 1, 1, 2, 3, 4, 4, 5], strict=True))
    for name, run in runs.items():
        curves = scalars(tmp_path / name)
        assert curves["train/n_updates"] == updates
        assert int(run.state.train.critic_optimizer[0].count) == 5
        for tag in ("penalty", "train/critic_loss"):
            assert list(curves[tag]) == [6, 12, 15, 18, 24], "where there were any"
        assert set(curves["penalty"].values()) == {7.0}, "a mean over these alone"
        rates = curves["time/updates_per_second"]
        assert [x for x, rate in rates.items() if rate] == [6, 12, 15, 18, 24]


class Unlucky(Counter):
    """Half of its episodes break at their first step, the others never."""

    def step(self, state, action):
        state, step = super().step(state, action)
        bad = jnp.where(step.observation[0] < 0.5, jnp.nan, 0.0)
        return state, step._replace(observation=step.observation + bad)


def test_vector_steps_without_anything_to_learn_from_do_not_count(tmp_path):
    """Each agent's buffer is empty until its environment is lucky, and full of steps after."""
    settings = {
        "num_envs": 1, "num_seeds": 3, "warm_up_steps": 0, "log_interval": 8, "iterations": 16,
        "checkpoint_interval": 8, "episodes_per_eval": 0, "episode_length": 100,
    }  # fmt: skip
    config = make_config(logdir=str(tmp_path), **settings)
    first = train.train(config, env=Unlucky(), callbacks=[lambda *_: False]).metrics
    unlucky = first["health/nonfinite_steps"]
    assert len(set(unlucky)) > 1, "agents differ"
    np.testing.assert_array_equal(first["train/n_updates"], 8 - unlucky)
    resumed = train.train(config, env=Unlucky())
    np.testing.assert_array_equal(resumed.metrics["train/n_updates"], 16 - unlucky)
    counted = resumed.state.train.critic_optimizer[0].count
    np.testing.assert_array_equal(resumed.metrics["train/n_updates"], counted)


def test_a_metric_with_a_name_of_the_trainers_is_refused(tmp_path):
    with pytest.raises(UsageError, match="losses: metric 'replay/size': such names are the train"):
        train.train(make_config(logdir=str(tmp_path / "run")), losses=with_metric("replay/size", 1))
    assert not (tmp_path / "run").exists()
