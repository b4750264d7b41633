"""Several agents in one compiled program: `vmap` over `RunState`. An agent alone is left as it is.

Whether the agents warm up or learn is one question for all of them, so the program branches as that of one agent does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.stages import Lowered
from jaxtyping import Array, Float, UInt32

from mjx_sac import evaluation, trainer
from mjx_sac.config import Config
from mjx_sac.devices import AGENTS as AGENTS_SPLIT
from mjx_sac.devices import SAME
from mjx_sac.trainer import AGENTS, Agent, RunState
from mjx_sac.types import Key, Metrics

_AXES: Any = RunState(train=0, episodes=0, replay=0, normalizer=0, key=0, warm_up_left=None, numbers=0)  # pyright: ignore
"""Where each part of the state has its agents: first, and the counter that decides is the same for all."""


def keys(config: Config) -> UInt32[np.ndarray, "*agents 2"]:
    """Of every agent the key that it would have alone; of an agent alone just that, without an axis."""
    own = np.stack([jax.random.PRNGKey(agent.seed) for agent in config.population()])
    return own if config.is_population else own[0]


def numbers(config: Config) -> dict[str, Float[Array, " agents"]]:
    """The hyperparameters in which agents differ."""
    names = sorted({name for member in config.members for name in member})
    return {name: jnp.array([getattr(agent, name) for agent in config.population()], jnp.float32) for name in names}


def init(agent: Agent, mesh: Mesh | None = None) -> Callable[[], RunState]:
    """Makes the state before the first vector step; compiled, and the same program whatever the seeds and numbers are."""
    where = {"out_shardings": shardings(agent, mesh)} if mesh else {}
    if not agent.config.is_population:
        return partial(jax.jit(partial(trainer.init, agent), **where), keys(agent.config))
    made = jax.jit(jax.vmap(partial(trainer.init, agent), out_axes=_AXES), **where)
    return partial(made, keys(agent.config), jax.tree.map(np.asarray, numbers(agent.config)))


def epoch(agent: Agent) -> Callable[[RunState], tuple[RunState, Metrics]]:
    """`trainer.epoch` of all agents; every metric has an axis of agents."""
    one = partial(trainer.epoch, agent)
    if not agent.config.is_population:
        return one
    return jax.vmap(one, in_axes=(_AXES,), out_axes=(_AXES, 0), axis_name=AGENTS)


def _parts(agent: Agent) -> Any:
    """What each of several devices holds: whole agents where there are several, else environments of the one."""
    if not agent.config.is_population:
        return trainer.SPLIT
    return jax.tree.map(lambda axis: SAME if axis is None else AGENTS_SPLIT, _AXES, is_leaf=lambda x: x is None)


def shardings(agent: Agent, mesh: Mesh) -> Any:
    """Where each part of the state lies."""
    return jax.tree.map(partial(NamedSharding, mesh), _parts(agent))


def lower(agent: Agent, state: RunState, mesh: Mesh | None = None, platforms: tuple[str, ...] | None = None) -> Lowered:
    """`epoch`, donating its argument, for a state like this on the devices of `mesh`, which it goes back to.

    `platforms` are the mesh's, where it is of devices that are not there.
    """
    if mesh is None:
        return jax.jit(epoch(agent), donate_argnums=0).lower(state)
    parts, where, same = _parts(agent), shardings(agent, mesh), NamedSharding(mesh, SAME)
    if agent.config.is_population:  # agents know nothing of each other: each device trains its own
        apart = jax.shard_map(epoch(agent), mesh=mesh, in_specs=(parts,), out_specs=(parts, AGENTS_SPLIT), check_vma=False)
        return jax.jit(apart, donate_argnums=0, in_shardings=(where,), out_shardings=(where, same)).lower(state)
    traced = jax.jit(epoch(agent), donate_argnums=0, in_shardings=(where,), out_shardings=(where, same))
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return traced.trace(state).lower(lowering_platforms=platforms)


def evaluate(agent: Agent) -> Callable[[Any, Any, Key, Array], Metrics]:
    """`(actor_params, normalizer, keys, n) -> metrics`: with the same `n` the same initial states, whenever it is asked."""
    episodes = agent.config.episodes_per_eval

    def one(actor_params: Any, stats: Any, key: Key, n: Array) -> Metrics:
        key = jax.random.fold_in(jax.random.fold_in(key, 0x6576616C), n)  # "eval": no key of training's
        return evaluation.summary(evaluation.evaluate(agent, actor_params, stats, key, episodes=episodes))

    if not agent.config.is_population:
        return one
    return jax.vmap(one, in_axes=(0, 0, 0, None))
