"""Several devices as one: what of a `RunState` lies where, and the few functions that each device runs on its own part.

Environments, and with them the replay buffer, are split over the axis of a mesh; everything else is on every device. Gradient
steps are left to XLA's partitioner: it is told that a batch is split and that parameters are not, and sums the gradients. So
a loss sees the whole batch, every random draw is the one that a single device makes, and a run is the same on any number of
devices, up to the order of sums.

The functions here do so where they are traced under `jax.set_mesh`, and are the plain ones elsewhere.
"""

import itertools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from mjx_sac import replay
from mjx_sac.envs.episodes import EpisodeState
from mjx_sac.replay import ReplayState
from mjx_sac.types import Key, Scalar, Transition

AXIS, AGENTS_AXIS = "devices", "devices_of_agents"
"""Names of the mesh's axis: where devices share the environments of one agent, and where each trains agents of its own."""

ENVS, RINGS, AGENTS, SAME = cast(tuple[Any, ...], (P(AXIS), P(None, AXIS), P(AGENTS_AXIS), P()))
"""Split over environments on the first axis, on the second, over agents, and the same on every device."""

# The pool of initial states is on every device: any environment may begin with any of them.
EPISODES = EpisodeState(env=ENVS, ended=ENVS, length=ENVS, episode_return=ENVS, pool=SAME, pool_next=SAME)
REPLAY = ReplayState(observation=RINGS, action=RINGS, reward=RINGS, terminated=RINGS, row=RINGS, head=ENVS, next=ENVS, size=ENVS)


def count() -> int:
    """Over how many devices what is being traced is split; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape.get(AXIS, 1)


def apart(function: Callable[..., Any], ins: Any, out: Any) -> Callable[..., Any]:
    """`function`, run by each device on its own part of the arguments.

    What is independent for every environment must run like this: split by the partitioner, the condition of a solver's `while`
    loop would be an exchange between all devices at every turn.
    """
    if count() == 1:
        return function
    return jax.shard_map(function, in_specs=ins, out_specs=out, check_vma=False)  # an environment's loops know of no axes


def whole(x: jax.Array) -> jax.Array:
    """All of `x` on every device: for statistics, of which each would otherwise be an exchange, or two, of its own."""
    return x if count() == 1 else jax.lax.with_sharding_constraint(x, SAME)


def refill(episodes: Any, state: EpisodeState, key: Key) -> EpisodeState:
    """`episodes.refill`, each device drawing its part of the initial states."""
    if count() == 1:
        return episodes.refill(state, key)
    keys = jax.random.split(key, episodes.pool_size)
    padded = jnp.resize(keys, (-(-len(keys) // count()) * count(), *keys.shape[1:]))  # some are drawn twice, and dropped
    draw = apart(lambda keys: jax.lax.all_gather(episodes.draw(keys), AXIS, tiled=True), ENVS, SAME)
    return episodes.refilled(state, jax.tree.map(lambda x: x[: len(keys)], draw(padded)))


def sample(state: ReplayState, key: Key, shape: tuple[int, int], discount: float | Scalar) -> Transition:
    """`replay.sample` of `shape` (batches, rows), with the rows of each batch split over the devices.

    Each device looks up what it owns of every batch, and one exchange brings the rows to where they are learned from.
    """
    if count() == 1:
        return replay.sample(state, key, shape, discount)

    def part(state: ReplayState, key: Key) -> Transition:
        held = jnp.sum(state.size)
        everywhere = jax.lax.all_gather(held, AXIS)
        before = jnp.cumsum(everywhere) - everywhere
        draw = jax.random.randint(key, shape, 0, jnp.sum(everywhere)) - before[jax.lax.axis_index(AXIS)]
        mine = (draw >= 0) & (draw < held)
        rows = replay.look_up(state, jnp.where(mine, draw, 0), discount)
        # Side by side, for one array is one exchange. What others own is zero here, so the sum over devices is exact.
        columns = [x.reshape(*shape, -1) for x in rows]
        table = jnp.where(mine[..., None], jnp.concatenate(columns, axis=-1), 0.0)
        table = jax.lax.psum_scatter(table, AXIS, scatter_dimension=1, tiled=True)
        ends = list(itertools.accumulate(x.shape[-1] for x in columns))[:-1]
        parts = zip(jnp.split(table, ends, axis=-1), rows, strict=True)
        return Transition(*(new.reshape(*new.shape[:2], *old.shape[2:]) for new, old in parts))

    return apart(part, (REPLAY, SAME), RINGS)(state, key)
