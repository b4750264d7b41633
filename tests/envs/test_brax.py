"""Brax's environments on MJX, and others with its interface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import State as BraxState
from helpers.runs import make_config

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import registry
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.episodes import Episodes
from mjx_sac.training.host import train


class DictBrax:
    """Speaks Brax's interface, with a dictionary of observations as Playground has."""

    unwrapped = None
    action_size = 1
    observation_size = None

    def __init__(self, keys=("state", "privileged_state")):
        self.keys = keys

    def reset(self, key):
        observation = {k: jnp.ones(3) for k in self.keys}
        return BraxState(None, observation, jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        return state.replace(reward=jnp.sum(action), done=jnp.float32(1))


def test_the_policy_sees_the_state_of_a_dictionary():
    env = BraxEnvironment(DictBrax())
    state, step = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([0.5]))
    assert env.observation_size == 3
    assert state.observation.shape == (3,)
    assert float(step.reward) == 0.5
    assert bool(step.terminated)
    with pytest.raises(UsageError, match="dictionary without 'state' \\(pixels\\)"):
        BraxEnvironment(DictBrax(keys=("pixels",)))


def test_a_reset_is_traced_once():
    """MJX's takes seconds."""
    traced = []

    class Counting(DictBrax):
        def reset(self, key):
            traced.append(key)
            return super().reset(key)

    episodes = Episodes(BraxEnvironment(Counting()), num_envs=2, episode_length=5)
    jax.eval_shape(lambda key: episodes.refill(episodes.init(), key), jax.random.PRNGKey(0))
    assert len(traced) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(registry.BRAX_NAMES) - {"swimmer"}))
def test_every_brax_environment_fits_on_mjx(name):
    """Shapes only: compiling each would take minutes."""
    env = envs.make(name)
    state = jax.eval_shape(env.reset, jax.random.PRNGKey(0))
    assert state.observation.shape == (env.observation_size,)
    _, step = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((env.action_size,), jnp.float32))
    assert step.observation.shape == (env.observation_size,)
    assert (step.reward.shape, step.terminated.dtype) == ((), bool)


@pytest.mark.slow
@pytest.mark.smoke
def test_ant_trains(tmp_path):
    """MJX physics, checkpoint and evaluation. Bitwise resume is shown in tests/faults."""
    sizes = {
        "env": "ant",
        "num_envs": 2,
        "episode_length": 20,
        "episodes_per_eval": 1,
        "reset_pool_size": 4,
    }
    run = train.train(make_config(**sizes, iterations=96, logdir=str(tmp_path)))
    assert int(run.metrics["train/n_updates"]) == 64
    assert np.isfinite(run.metrics["eval/mean_reward"])
