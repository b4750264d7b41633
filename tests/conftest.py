"""Small environments that a test can compute by hand, and one way to train on them."""

import importlib
import inspect
import os
import tempfile
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Compiled programs are shared by the tests of one session, in all its worker processes, and never with the user's.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mjx-sac-tests-")

import jax
import jax.numpy as jnp
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.config import Config
from mjx_sac.envs.base import State, spaces
from mjx_sac.types import Step


def _check_shapes(module) -> None:
    """Checks the annotated shapes and types of a module's functions at every call, while tests run and at no other time.

    Functions only: a state's fields are not always arrays (shapes, axes), as pytrees are used.
    """
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__:
            setattr(module, name, jaxtyped(function, typechecker=beartype))


for _name in ("evaluation", "losses", "metrics", "normalizer", "replay", "sac", "trainer"):
    _check_shapes(importlib.import_module(f"mjx_sac.{_name}"))

from mjx_sac import losses as losses_lib  # noqa: E402
from mjx_sac import networks
from mjx_sac.training.compiled import epoch  # noqa: E402
from mjx_sac.runs.checkpoint import Checkpoints  # noqa: E402
from mjx_sac.losses import Losses  # noqa: E402
from mjx_sac.training.compiled.normalizer import NormalizerState  # noqa: E402
from mjx_sac.policy.policy import Policy  # noqa: E402

SMALL = {
    "env": "counter",
    "num_envs": 4,
    "iterations": 128,
    "warm_up_steps": 32,
    "log_interval": 32,
    "checkpoint_interval": 32,
    "episodes_per_eval": 2,
    "buffer_size": 64,
    "batch_size": 8,
    "hidden_sizes": (8,),
    "episode_length": 5,
    "reset_pool_size": 8,
}
"""A run of four epochs, the first of which only warms up."""


class Counter:
    """Counts its steps, starting from a drawn number: observation = (start, steps). Reward is the count before the step.

    Its state has an array without elements, as MJX's has.

    Attributes:
      ends_at: terminates at this count.
      breaks_at: its observation becomes NaN at this count.
    """

    observation_size = 2
    action_size = 1

    def __init__(self, ends_at: int = 1000, breaks_at: int = 1000) -> None:
        self.ends_at, self.breaks_at = ends_at, breaks_at

    def reset(self, key):
        start = jax.random.uniform(key)
        return State(jnp.stack([start, 0.0]), (jnp.int32(0), jnp.zeros((0, 3))))

    def step(self, state, action):
        count = state.inner[0] + 1
        observation = jnp.stack([state.observation[0], jnp.where(count == self.breaks_at, jnp.nan, count * 1.0)])
        step = Step(observation, state.inner[0].astype(jnp.float32), count >= self.ends_at, jnp.array(False))
        return State(observation, (count, state.inner[1])), step


@pytest.fixture(autouse=True, scope="session")
def _environments():
    envs.register("counter", Counter)


def make_config(**overrides) -> Config:
    return loader.config_class(overrides.get("losses"))(**{**SMALL, **overrides})


def save_run(directory, environment=None, modules=None, steps=(32,), **overrides) -> epoch.RunState:
    """A run with a checkpoint at each of `steps`: not trained, but with statistics of observations as if it had been."""
    config, environment = make_config(logdir=str(directory), **overrides), environment or Counter()
    modules = modules or networks.make(config, environment.action_size)
    agent = epoch.make_experiment(config, environment, modules, Losses())
    state = jax.jit(partial(epoch.init, agent))(jax.random.PRNGKey(1))
    state = state.replace(normalizer=statistics(environment.observation_size))
    checkpoints = Checkpoints(directory, config, spaces(environment))
    for step in steps:
        checkpoints.save(step, state)
    checkpoints.wait()
    checkpoints.close()
    return state


def make_policy(environment, modules=None, **overrides) -> Policy:
    """As `load_policy` would return it for a run like that of `save_run`, without the run."""
    config, size = make_config(**overrides), environment.observation_size
    modules = modules or networks.make(config, environment.action_size)
    params = modules.actor.init(jax.random.PRNGKey(1), jnp.zeros((1, size)))
    return Policy(config, 32, spaces(environment), modules, params, statistics(size))


def statistics(size: int) -> NormalizerState:
    """Means -1, 0, 1, ... and variances 1, 2, 3, ..."""
    return NormalizerState(jnp.float32(100), jnp.arange(size) - 1.0, jnp.arange(1.0, size + 1))


def make_experiment(env=None, losses=None, file=None, **overrides) -> epoch.Experiment:
    config = make_config(**overrides, losses=file)
    env, found = env or Counter(), loader.load(config)
    checked = Losses(losses_lib.critic_loss, losses_lib.actor_loss, losses_lib.temperature_loss)  # shapes and all
    losses = losses or (found.losses if file else checked)
    return epoch.make_experiment(config, env, found.networks(config, env.action_size), losses)
