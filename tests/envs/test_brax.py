"""Brax's environments on MJX, and others with its interface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import State as BraxState
from brax.envs.base import Wrapper
from brax.envs.wrappers import training as wrappers
from helpers.runs import make_config, make_experiment

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import registry
from mjx_sac.envs.checked import adapt
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


def test_actor_and_critics_see_their_parts_of_a_dictionary():
    env = adapt("dictionary", DictBrax())
    assert (env.observation_size, env.views.actor, env.views.critic) == (6, ((3, 6),), ((0, 3),))
    state, step = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([0.5]))
    assert state.observation.shape == step.observation.shape == (6,)
    assert (float(step.reward), bool(step.terminated)) == (0.5, True)


def test_reset_and_step_are_traced_once():
    """MJX's take seconds."""
    traced = []

    class Counting(DictBrax):
        def reset(self, key):
            traced.append("reset")
            return super().reset(key)

        def step(self, state, action):
            traced.append("step")
            return super().step(state, action)

    episodes = Episodes(adapt("counting", Counting()), num_envs=2, episode_length=5)
    state = jax.eval_shape(lambda key: episodes.refill(episodes.init(), key), jax.random.PRNGKey(0))
    jax.eval_shape(episodes.step, state, jax.ShapeDtypeStruct((2, 1), jnp.float32))
    assert traced == ["reset", "step"]


class Climb(DictBrax):
    """Observes its count of steps, and terminates at 6."""

    sys = None

    def reset(self, key):
        return BraxState(None, jnp.zeros(1), jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        count = state.obs + 1
        return state.replace(obs=count, reward=count[0], done=jnp.float32(count[0] >= 6))


class Own(Wrapper):
    """A user's wrapper, around what Brax's training puts around an environment."""


def played(env, steps):
    """The observation, termination and truncation of each step."""
    env = adapt("wrapped", env)
    state, rows = env.reset(jax.random.PRNGKey(0)), []
    for _ in range(steps):
        state, step = env.step(state, jnp.zeros(1))
        rows.append((float(step.observation[0]), bool(step.terminated), bool(step.truncated)))
    return rows


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: wrappers.AutoResetWrapper(wrappers.EpisodeWrapper(env, 5, 1)),
        lambda env: wrappers.EvalWrapper(wrappers.wrap(env, 5)),
        lambda env: wrappers.VmapWrapper(wrappers.EpisodeWrapper(env, 5, 1), 3),
    ],
    ids=["create", "train", "batch"],
)
def test_wrappers_of_brax_training_become_a_time_limit(wrap):
    env = adapt("wrapped", wrap(Climb()))
    assert (type(env.env), env.time_limit) == (Climb, 5)
    assert make_experiment(env, episode_length=None).episodes.episode_length == 5
    assert played(wrap(Climb()), 6)[4:] == [(5, False, False), (6, True, False)]


def test_a_time_limit_under_ones_own_wrapper_is_a_truncation():
    # The third observation is the true one: the wrapper resets nothing.
    assert played(Own(wrappers.EpisodeWrapper(Climb(), 3, 1)), 3)[1:] == [
        (2, False, False),
        (3, False, True),
    ]
    assert played(Own(wrappers.EpisodeWrapper(Climb(), 6, 1)), 6)[5] == (6, True, False)
    assert adapt("wrapped", Own(wrappers.EpisodeWrapper(Climb(), 3, 1))).time_limit == 3


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda env: Own(wrappers.AutoResetWrapper(env)), r"resets itself \(info\['first_obs'\]\)"),
        (lambda env: Own(wrappers.VmapWrapper(env, 3)), r"have shape \(3,\).*batch axis"),
        (lambda env: wrappers.EpisodeWrapper(env, 5, 4), "leave it to --action_repeat 4"),
        (
            lambda env: wrappers.DomainRandomizationVmapWrapper(env, lambda sys: (sys, None)),
            "DomainRandomizationVmapWrapper is not supported",
        ),
    ],
    ids=["resets itself", "batch", "repeats", "randomizes"],
)
def test_a_wrapper_that_cannot_be_honoured_is_refused(wrap, words):
    with pytest.raises(UsageError, match=words):
        adapt("wrapped", wrap(Climb()))


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
