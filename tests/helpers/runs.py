"""Small runs: their configuration, their parts, and what they leave behind."""

from functools import partial

import jax
import jax.numpy as jnp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.envs import Counter
from mjx_sac import losses as losses_lib
from mjx_sac import networks
from mjx_sac.algorithms import loader
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import Config, renamed
from mjx_sac.envs.spaces import spaces
from mjx_sac.losses import Losses
from mjx_sac.policy.policy import Policy
from mjx_sac.runs import array_store, provenance
from mjx_sac.runs.checkpoint import Checkpoints
from mjx_sac.runs.directory import best_path, checkpoint_path, steps, write_kwargs
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.training.compiled import epoch, experiment, history, sharding
from mjx_sac.training.compiled.normalizer import NormalizerState

COUNTER = "helpers.envs:Counter"
"""The environment, as other processes name it."""

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


def flags(**overrides) -> list[str]:
    """SMALL as a command line."""
    values = {**SMALL, **overrides}
    return [
        f"--{k}={','.join(map(str, v)) if isinstance(v, list | tuple) else v}"
        for k, v in values.items()
    ]


def make_config(**overrides) -> Config:
    config_class = loader.config_class(renamed(overrides).get("algorithm", "sac"))
    read = {name: value for name, value in SMALL.items() if name not in config_class.unused}
    return config_class(**{**read, **overrides})


def save_run(
    directory,
    environment=None,
    modules=None,
    steps=(32,),
    change=lambda state: state,
    progress=None,
    **overrides,
) -> experiment.RunState:
    """Write a run with a checkpoint at each of `steps`, of a state that `change` may change.

    Not trained, but with statistics of observations as if it had been.
    """
    config, environment = make_config(logdir=str(directory), **overrides), environment or Counter()
    modules = modules or networks.make(config, environment.action_size)
    agent = experiment.make_experiment(config, environment, modules, Algorithm())
    state = jax.jit(partial(epoch.init, agent))(jax.random.PRNGKey(1))
    state = change(state.replace(normalizer=statistics(environment.observation_size)))
    header = {**provenance.description(config), "spaces": spaces(environment)}
    checkpoints = Checkpoints(directory, config.max_to_keep, header, fetch=sharding.fetch)
    policy = {"actor_params": state.train.actor, "normalizer": state.normalizer}
    for step in steps:
        checkpoints.save(step, {"state": state, "policy": policy}, progress)
    checkpoints.wait()
    checkpoints.close()
    return state


def save_best(directory, iterations, returns) -> None:
    """Write a run's best policy: that of its newest checkpoint, said to be of `iterations`."""
    source = checkpoint_path(directory, steps(directory)[-1]) / "policy"
    said = {"iterations": iterations, "returns": returns}
    header = {**array_store.manifest(source), **said}
    del header["schema"]
    best_path(directory).mkdir(parents=True)
    array_store.write(best_path(directory), dict(array_store.read(source)), header, None)


def make_policy(environment, modules=None, **overrides) -> Policy:
    """As `load_policy` would return it for a run like that of `save_run`, without the run."""
    config, size = make_config(**overrides), environment.observation_size
    modules = modules or networks.make(config, environment.action_size)
    seen = history.size(config.history, size, environment.action_size)
    params = modules.actor.init(jax.random.PRNGKey(1), jnp.zeros((1, seen)))
    return Policy(config, 32, spaces(environment), modules, params, statistics(size))


def statistics(size: int) -> NormalizerState:
    """Means -1, 0, 1, ... and variances 1, 2, 3, ..."""
    return NormalizerState(jnp.float32(100), jnp.arange(size) - 1.0, jnp.arange(1.0, size + 1))


def make_experiment(env=None, losses=None, file=None, **overrides) -> experiment.Experiment:
    config = make_config(**overrides, algorithm=file or "sac")
    env, found = env or Counter(), loader.load(config)
    checked = Losses(
        losses_lib.critic_loss, losses_lib.actor_loss, losses_lib.temperature_loss
    )  # shapes and all
    found = found._replace(losses=losses or (found.losses if file else checked))
    return experiment.make_experiment(config, env, found.networks(config, env.action_size), found)


def scalars(directory) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(directory)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def save_logged_run(directory) -> None:
    """Save a run of three epochs: checkpoints, `kwargs.json` and curves."""
    save_run(directory, steps=(32, 64, 96), iterations=96)
    write_kwargs(make_config(logdir=str(directory), iterations=96), directory)
    writer = EventWriter(directory, 0, print)
    writer.log(32, {"time/fps": 7.0})
    writer.log(64, {"time/fps": 8.0, "eval/mean_reward": 12.0})
    writer.log(96, {"time/fps": 9.0, "eval/mean_reward": 10.0})
    writer.close()
