"""Environments by name: the registry, users' modules, and Brax's on MJX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter
from helpers.runs import make_config

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.episodes import Episodes
from mjx_sac.training.host import train


def test_brax_names_are_brax_registry():
    import brax.envs

    assert set(envs._BRAX_NAMES) == set(brax.envs._envs)


def test_a_registered_factory_is_used():
    envs.register("mine", lambda: Counter(ends_at=7))
    assert envs.make("mine").ends_at == 7


def test_a_factory_in_a_module():
    assert envs.make("helpers.envs:Counter").action_size == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("helpers.envs:Missing", ["AttributeError", "Missing"]),
        ("helpers.runs:make_config.nothing", ["AttributeError"]),
        ("helpers.runs:make_experiment", ["Experiment is no environment", "observation_size"]),
    ],
)
def test_a_factory_that_gives_no_environment_is_refused_in_one_line(name, words):
    with pytest.raises(UsageError) as error:
        envs.make(name)
    assert all(word in str(error.value) for word in words), error.value


class DictBrax:
    """Speaks Brax's interface, with a dictionary of observations as Playground has."""

    unwrapped = None
    action_size = 1
    observation_size = None

    def __init__(self, keys=("state", "privileged_state")):
        self.keys = keys

    def reset(self, key):
        from brax.envs.base import State

        return State(None, {k: jnp.ones(3) for k in self.keys}, jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        return state.replace(reward=jnp.sum(action), done=jnp.float32(1))


def test_of_a_dictionary_observation_the_policy_sees_the_state():
    env = BraxEnvironment(DictBrax())
    state, step = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([0.5]))
    assert (
        env.observation_size,
        state.observation.shape,
        float(step.reward),
        bool(step.terminated),
    ) == (3, (3,), 0.5, True)
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
@pytest.mark.parametrize("name", sorted(set(envs._BRAX_NAMES) - {"swimmer"}))
def test_every_brax_environment_is_an_environment_on_mjx(name):
    """Shapes only: compiling each would take minutes."""
    env = envs.make(name)
    state = jax.eval_shape(env.reset, jax.random.PRNGKey(0))
    assert state.observation.shape == (env.observation_size,)
    _, step = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((env.action_size,), jnp.float32))
    assert step.observation.shape == (env.observation_size,)
    assert (step.reward.shape, step.terminated.dtype) == ((), bool)


def test_swimmer_which_brax_broke_is_refused():
    with pytest.raises(UsageError, match="env = 'swimmer': Brax"):
        envs.make("swimmer")


@pytest.mark.slow
@pytest.mark.smoke
def test_ant_trains(tmp_path):
    """MJX physics, checkpoint and evaluation. That it goes on bit for bit is shown in tests/faults."""
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
