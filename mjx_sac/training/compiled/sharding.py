"""Several devices as one: what of a state lies where, and what each device runs on its own part.

Environments, and with them the replay buffer, are sharded over the axis of a mesh; everything else
is replicated. Gradient steps are left to XLA's partitioner: it knows that a batch is sharded and
parameters are not, and sums the gradients. So a loss sees the whole batch, every random draw is
the one that a single device makes, and a run is the same on any number of devices, up to the order
of sums.

The functions here do so where they are traced under a mesh, and are the plain ones elsewhere.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mjx_sac.envs.episodes import EpisodeState
from mjx_sac.training.compiled import replay
from mjx_sac.training.compiled.replay import ReplayState
from mjx_sac.types import Key, Transition, named_leaves

ENV_AXIS, AGENT_AXIS = "devices", "devices_of_agents"
"""Names of a mesh's axis: where devices share one agent's environments, and where they share
agents."""

ENV_SHARDED: Any = PartitionSpec(ENV_AXIS)
RING_SHARDED: Any = PartitionSpec(None, ENV_AXIS)
AGENT_SHARDED: Any = PartitionSpec(AGENT_AXIS)
REPLICATED: Any = PartitionSpec()


def fill(state_class: type[Any], value: Any, **others: Any) -> Any:
    """Return a state with `value` in every field but `others`."""
    return state_class(**{**dict.fromkeys(state_class.__dataclass_fields__, value), **others})


# The pool of initial states is replicated: any environment may begin with any of them.
EPISODE_SPECS = fill(EpisodeState, ENV_SHARDED, pool=REPLICATED, pool_next=REPLICATED)
REPLAY_SPECS = fill(ReplayState, RING_SHARDED, head=ENV_SHARDED, next=ENV_SHARDED, size=ENV_SHARDED)

_SMALL, _CHUNK = 2**22, 2**26
"""Bytes: arrays up to the one are gathered together, in one program; larger ones in pieces of the
other."""


def num_shards() -> int:
    """Return over how many devices environments are sharded in this trace; 1 without a mesh."""
    return jax.sharding.get_abstract_mesh().shape.get(ENV_AXIS, 1)


def shard_over_envs(function: Callable[..., Any], ins: Any, out: Any) -> Callable[..., Any]:
    """Return `function`, run by each device on its own part of the arguments.

    What is independent for every environment must run like this: sharded by the partitioner, the
    condition of a solver's `while` loop would be an exchange between all devices at every turn.
    """
    if num_shards() == 1:
        return function
    # An environment's loops know of no axes: hence no check of varying manual axes.
    return jax.shard_map(function, in_specs=ins, out_specs=out, check_vma=False)


def replicate(x: jax.Array) -> jax.Array:
    """Return all of `x` on every device: otherwise each statistic of it would be an exchange."""
    return x if num_shards() == 1 else jax.lax.with_sharding_constraint(x, REPLICATED)


def refill(episodes: Any, state: EpisodeState, key: Key) -> EpisodeState:
    """`episodes.refill`, with each device drawing its part of the initial states."""
    if num_shards() == 1:
        return episodes.refill(state, key)
    keys = jax.random.split(key, episodes.pool_size)
    # Some are drawn twice, and dropped.
    which = jnp.arange(-(-len(keys) // num_shards()) * num_shards()) % len(keys)
    padded = jax.tree.map(lambda x: x[which], (keys, episodes.pool_models(state)))
    draw = shard_over_envs(
        lambda *args: jax.lax.all_gather(episodes.draw(*args), ENV_AXIS, tiled=True),
        ENV_SHARDED,
        REPLICATED,
    )
    return episodes.refilled(state, jax.tree.map(lambda x: x[: len(keys)], draw(*padded)))


def sample(state: ReplayState, key: Key, shape: tuple[int, int], *how: Any) -> Transition:
    """`replay.sample` of `shape` (batches, rows), with the rows of each batch sharded.

    Each device looks up what it owns of every batch, and one exchange brings the rows to where
    they are learned from.
    """
    if num_shards() == 1:
        return replay.sample(state, key, shape, *how)

    def part(state: ReplayState, key: Key) -> Transition:
        held = jnp.sum(state.size)
        everywhere = jax.lax.all_gather(held, ENV_AXIS)
        before = jnp.cumsum(everywhere) - everywhere
        draw = jax.random.randint(key, shape, 0, jnp.sum(everywhere))
        draw = draw - before[jax.lax.axis_index(ENV_AXIS)]
        mine = (draw >= 0) & (draw < held)
        rows = replay.look_up(state, jnp.where(mine, draw, 0), *how)
        # Side by side, for one array is one exchange. What others own is zero here, so the sum
        # over devices is exact.
        columns = [x.reshape(*shape, -1) for x in rows]
        table = jnp.where(mine[..., None], jnp.concatenate(columns, axis=-1), 0.0)
        table = jax.lax.psum_scatter(table, ENV_AXIS, scatter_dimension=1, tiled=True)
        ends = list(itertools.accumulate(x.shape[-1] for x in columns))[:-1]
        parts = zip(jnp.split(table, ends, axis=-1), rows, strict=True)
        return Transition(*(new.reshape(*new.shape[:2], *old.shape[2:]) for new, old in parts))

    return shard_over_envs(part, (REPLAY_SPECS, REPLICATED), RING_SHARDED)(state, key)


def sample_replicated(
    state: ReplayState, key: Key, shape: tuple[int, int], *how: Any
) -> Transition:
    """`sample` of a buffer that every device has all of: each looks up its own part of the rows."""
    rows = replay.sample(state, key, shape, *how)
    if num_shards() == 1:
        return rows
    return jax.lax.with_sharding_constraint(rows, RING_SHARDED)


def place(array: np.ndarray, sharding: Any) -> jax.Array:
    """Return `array`, which every process has read, laid out as `sharding` says.

    XLA owns the memory: the epoch overwrites it.
    """
    if sharding is None:
        return jnp.array(array, copy=True)
    copy = lambda part: np.array(array[part], copy=True)  # noqa: E731
    return jax.make_array_from_callback(array.shape, sharding, copy)


def fetch(arrays: Iterable[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Return host copies by name on process 0; the others send their parts.

    On a CPU `np.asarray` would be the very memory that the next epoch overwrites.
    """
    arrays = list(arrays)
    small = {name: x for name, x in arrays if _is_remote(x) and x.nbytes <= _SMALL}
    gathered = dict(zip(small, _gather(list(small.values())), strict=True)) if small else {}
    return {
        name: _gather_in_pieces(x)
        if _is_remote(x) and name not in gathered
        else np.array(gathered.get(name, x), copy=True, order="C")
        for name, x in arrays
    }


def whole(tree: Any) -> Any:
    """Return a pytree whose arrays process 0 can use alone; all processes must ask, see `fetch`."""
    return jax.tree.unflatten(jax.tree.structure(tree), fetch(named_leaves(tree)).values())


def _is_remote(x: Any) -> bool:
    """Return whether other processes hold parts of `x`."""
    return isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated


def _gather(x: Any) -> Any:
    """Return the same arrays, whole on every device."""
    mesh = jax.tree.leaves(x)[0].sharding.mesh
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))(x)


def _gather_in_pieces(x: jax.Array) -> np.ndarray:
    """Gather a large array some rows at a time: no device has room for all of a replay buffer."""
    whole = np.empty(x.shape if jax.process_index() == 0 else (0,), x.dtype)
    rows = max(1, _CHUNK * len(x) // x.nbytes)
    mesh = x.sharding.mesh  # pyright: ignore[reportAttributeAccessIssue]
    part = jax.jit(
        lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, min(rows, len(x))),
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    for start in [*range(0, len(x) - rows, rows), max(len(x) - rows, 0)]:  # the last may overlap
        piece = part(x, start)
        if len(whole):
            whole[start : start + rows] = piece
    return whole
