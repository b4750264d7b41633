"""Several agents in one compiled program, along a first axis of `RunState` that one has not.

Side by side they are `vmap`: whether they warm up or learn is decided once for all of them, so the
program branches as that of a single agent does. On a CPU agents with much arithmetic take turns, an
epoch each: their batched products leave its caches (side by side, sixteen of ant's did 0.8 times as
many gradient steps per second as one alone).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.stages import Lowered
from jaxtyping import Array, Float, UInt32

from mjx_sac.config import Config
from mjx_sac.training.compiled import critic_bias
from mjx_sac.training.compiled import epoch as single
from mjx_sac.training.compiled import evaluate as evaluate_lib
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.training.compiled.sharding import AGENT_SHARDED, REPLICATED
from mjx_sac.training.compiled.updates import AGENT_VMAP_AXIS
from mjx_sac.types import Key, Metrics

MANY_PRODUCTS = 2**24
"""An agent's critics take about as many for a batch, where agents on a CPU begin to take turns. Two
of 128 x 128 take half as many for 256 rows, two of 256 x 256 twice as many."""


def keys(config: Config) -> UInt32[np.ndarray, "*agents 2"]:
    """Return PRNG keys [agents, 2], or [2] for a single agent: those of runs with their seeds."""
    own = np.stack([jax.random.PRNGKey(agent.seed) for agent in config.population()])
    return own if config.is_population else own[0]


def hyperparameters(config: Config) -> dict[str, Float[np.ndarray, " agents"]]:
    """Return the hyperparameters in which agents differ, by name."""
    agents = config.population()
    names = sorted({name for member in config.members for name in member})
    return {n: np.array([getattr(agent, n) for agent in agents], np.float32) for n in names}


def init(experiment: Experiment, mesh: Mesh | None = None) -> Callable[[], RunState]:
    """Return what makes the first state: one program, whatever seeds and hyperparameters are."""
    config = experiment.config
    where = {"out_shardings": shardings(experiment, mesh)} if mesh else {}
    one = partial(single.init, experiment)
    if not config.is_population:
        return partial(jax.jit(one, **where), keys(config))
    made = jax.jit(jax.vmap(one, out_axes=RunState.of_agents(0, None)), **where)
    return partial(made, keys(config), hyperparameters(config))


def epoch(
    experiment: Experiment, platform: str | None = None
) -> Callable[[RunState], tuple[RunState, dict[str, Any]]]:
    """Return `epoch.epoch` of all agents on a platform, by default the one in use; every metric has
    an axis of agents.
    """
    one = partial(single.epoch, experiment)
    if not experiment.config.is_population:
        return one
    axes = RunState.of_agents(0, None)
    side_by_side = jax.vmap(one, in_axes=(axes,), out_axes=(axes, 0), axis_name=AGENT_VMAP_AXIS)

    def run(state: RunState) -> tuple[RunState, dict[str, Any]]:
        alone = take_turns(experiment.config, state, platform)
        return _in_turns(experiment, state) if alone else side_by_side(state)

    return run


def take_turns(config: Config, state: RunState, platform: str | None = None) -> bool:
    """Return whether the agents of `state` are trained one after another."""
    if not config.is_population or (platform or jax.default_backend()) != "cpu":
        return False
    weights = sum(x.size // len(x) for x in jax.tree.leaves(state.train.critic_params))
    return config.batch_size * weights >= MANY_PRODUCTS


def _in_turns(experiment: Experiment, state: RunState) -> tuple[RunState, dict[str, Any]]:
    """Run an epoch of each agent alone, one after another, in place but for that agent."""
    config, dataset = experiment.config.population()[0], state.dataset
    alone = partial(single.epoch, dataclasses.replace(experiment, config=config))
    own = RunState.of_agents(True, False)

    def turn(agents: RunState, i: Array) -> tuple[RunState, Any]:
        def pick(own: bool, part: Any) -> Any:
            return jax.tree.map(lambda x: x[i], part) if own else part

        def put(own: bool, part: Any, new: Any) -> Any:
            return jax.tree.map(lambda x, y: x.at[i].set(y), part, new) if own else part

        agent, metrics = alone(jax.tree.map(pick, own, agents).replace(dataset=dataset))
        shared = jax.tree.map(lambda own, part: None if own else part, own, agent.saved)
        return jax.tree.map(put, own, agents, agent.saved), (shared, metrics)

    def after(own: bool, part: Any, shared: Any) -> Any:
        return part if own else jax.tree.map(lambda x: x[-1], shared)

    turns = jnp.arange(len(state.key))
    agents, (shared, metrics) = jax.lax.scan(turn, state.saved, turns)
    return jax.tree.map(after, own, agents, shared).replace(dataset=dataset), metrics


def _specs(experiment: Experiment) -> Any:
    """Return what each device holds: whole agents of several, else environments of the one."""
    if experiment.config.is_population:
        return RunState.of_agents(AGENT_SHARDED, REPLICATED)
    return RunState.specs()


def shardings(experiment: Experiment, mesh: Mesh) -> Any:
    """Return where each part of the state lies."""
    return jax.tree.map(partial(NamedSharding, mesh), _specs(experiment))


def lower(
    experiment: Experiment,
    state: RunState,
    mesh: Mesh | None = None,
    platforms: tuple[str, ...] | None = None,
) -> Lowered:
    """Lower `epoch`, donating its argument, for arrays or shapes of a state.

    They are on the devices of `mesh`, by default on one; of devices that are not there `platforms`
    says what they are.
    """
    program = epoch(experiment, platforms[0] if platforms else None)
    if mesh is None:
        return jax.jit(program, donate_argnums=0).lower(state)
    specs, where = _specs(experiment), shardings(experiment, mesh)
    if experiment.config.is_population:  # agents are independent: each device trains its own
        out = (specs, AGENT_SHARDED)
        program = jax.shard_map(
            program, mesh=mesh, in_specs=(specs,), out_specs=out, check_vma=False
        )
    out = (where, NamedSharding(mesh, REPLICATED))
    program = jax.jit(program, donate_argnums=0, in_shardings=(where,), out_shardings=out)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return program.trace(state).lower(lowering_platforms=platforms)


def evaluate(
    experiment: Experiment, until_over: bool | None = None
) -> Callable[[Any, Any, Key, Array, Any], Metrics]:
    """Return `(actor, normalizer, keys, n, critics) -> metrics` of all agents; `until_over` is that
    of `evaluate.evaluate`.

    The same `n` has the same initial states, whenever it is evaluated. Critics may be None, or are
    judged too.
    """
    episodes = experiment.config.episodes_per_eval

    def one(actor: Any, stats: Any, key: Key, n: Array, critics: Any) -> Metrics:
        # "eval": no key of training's.
        key = jax.random.fold_in(jax.random.fold_in(key, 0x6576616C), n)
        how: dict[str, Any] = {"episodes": episodes, "until_over": until_over}
        played = evaluate_lib.evaluate(experiment, actor, stats, key, **how)
        measured = evaluate_lib.summary(played)
        if critics is not None:
            key = jax.random.fold_in(key, 0x62696173)  # "bias"
            measured |= critic_bias.measure(experiment, actor, stats, critics, key, episodes)
        return measured

    if not experiment.config.is_population:
        return one
    return jax.vmap(one, in_axes=(0, 0, 0, None, 0))
