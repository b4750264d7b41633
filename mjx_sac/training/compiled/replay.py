"""A replay buffer that keeps each observation once, as pure functions on a state.

Every environment writes two rings:

    observations   o0 o1 o2 ... oT | o0' o1' ...      the row after an observation holds the next
    transitions    (a0 r0 row 0) (a1 r1 row 1) ...    `row` says where the observation lies

An episode's last observation takes a row too, so a time limit bootstraps from the true one and no
transition reaches across a reset. That row belongs to no transition: nothing has to be rejected
when sampling, which is uniform over the transitions by construction. A table of (s, a, r, d, s')
keeps every observation twice.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int32, Shaped

from mjx_sac.runs.recorded import RINGS, Recorded
from mjx_sac.training.compiled import history as history_lib
from mjx_sac.types import Key, Scalar, Step, Transition

Index = Int32[Array, "*shape"]
"""Of environments, slots, rows or transitions."""


class ReplayState(struct.PyTreeNode):
    """The rings of all environments, and where each environment is in its own.

    Attributes:
      observation: one more row per episode than there are transitions.
      reward: unscaled.
      terminated: whether the transition ended its episode for good.
      row: where in `observation` the transition starts.
      head: row of `observation` written last.
      next: slot of the next transition.
      size: number of transitions that can be sampled: the ones right before `next`.
    """

    observation: Float[Array, "rows num_envs observation"]
    action: Float[Array, "slots num_envs action"]
    reward: Float[Array, "slots num_envs"]
    terminated: Bool[Array, "slots num_envs"]
    row: Int32[Array, "slots num_envs"]
    head: Int32[Array, " num_envs"]
    next: Int32[Array, " num_envs"]
    size: Int32[Array, " num_envs"]


def init(
    buffer_size: int,
    num_envs: int,
    observation_size: int,
    action_size: int,
    episode_length: int = 1000,
) -> ReplayState:
    """Return an empty buffer for `buffer_size` transitions, in whole slots per environment.

    There is room for the final observations of episodes of `episode_length` transitions. Where
    episodes are shorter, the oldest transitions leave a little sooner: `size` says what is there.
    """
    slots = buffer_size // num_envs
    # Beside the final rows: the current episode's, and the two that an insert may add.
    rows = slots + -(-slots // episode_length) + 3
    return ReplayState(
        observation=jnp.zeros((rows, num_envs, observation_size)),
        action=jnp.zeros((slots, num_envs, action_size)),
        reward=jnp.zeros((slots, num_envs)),
        terminated=jnp.zeros((slots, num_envs), bool),
        row=jnp.full((slots, num_envs), -1, jnp.int32),  # nowhere: nothing has been written
        head=jnp.zeros(num_envs, jnp.int32),
        next=jnp.zeros(num_envs, jnp.int32),
        size=jnp.zeros(num_envs, jnp.int32),
    )


def of_recorded(recorded: Recorded) -> ReplayState:
    """Return a full buffer of NumPy's arrays, as if one environment had collected all of this."""
    rows, slots = len(recorded.observation), len(recorded.row)
    arrays: dict[str, Any] = {name: getattr(recorded, name)[:, None] for name in RINGS}
    places = {"head": rows - 1, "next": 0, "size": slots}
    arrays |= {name: np.array([place], np.int32) for name, place in places.items()}
    return ReplayState(**arrays)


def insert(
    state: ReplayState,
    observation: Float[Array, "num_envs observation"],
    action: Float[Array, "num_envs action"],
    step: Step,
    started: Bool[Array, " num_envs"],
    valid: Bool[Array, " num_envs"],
    history: int = 1,
) -> ReplayState:
    """Add one transition per environment: what was acted on, what was done, what came of it.

    Where `started`, as everywhere at the first insert, it is the first of its episode: its
    observation is not the row before it. Where not `valid` nothing is written or forgotten, and
    the environment's next transition must be a started one. The transitions before the oldest that
    can be sampled stay, as far as `history` reaches, see `look_up`.
    """
    slots, rows = len(state.row), len(state.observation)
    # Barrier: read `row` before it is written, or XLA copies the ring to keep the old one alive.
    size, row = jax.lax.optimization_barrier((_make_room(state, history), state.row))
    # A started episode writes its first observation; otherwise that is already the head.
    first = jnp.where(started, state.head + 1, state.head) % rows
    written = _write(state.observation, first, valid & started, observation)
    last = (first + 1) % rows
    slot = state.next
    return state.replace(
        observation=_write(written, last, valid, step.observation),
        action=_write(state.action, slot, valid, action),
        reward=_write(state.reward, slot, valid, step.reward),
        terminated=_write(state.terminated, slot, valid, step.terminated),
        row=_write(row, slot, valid, first),
        head=jnp.where(valid, last, state.head),
        next=jnp.where(valid, (slot + 1) % slots, slot),
        size=jnp.where(valid, size + 1, state.size),
    )


def _write(
    ring: Shaped[Array, "length num_envs ..."],
    index: Int32[Array, " num_envs"],
    mask: Bool[Array, " num_envs"],
    value: Shaped[Array, "num_envs ..."],
) -> Shaped[Array, "length num_envs ..."]:
    """Write a row per environment where `mask`: elsewhere out of range, which XLA drops."""
    length, num_envs = ring.shape[:2]
    return ring.at[jnp.where(mask, index, length), jnp.arange(num_envs)].set(value)


def _make_room(state: ReplayState, history: int) -> Int32[Array, " num_envs"]:
    """Return `size` without the oldest transitions where an insert needs their slot or rows, or
    those of the `history` - 1 steps before.
    """
    slots, num_envs = state.row.shape
    rows = len(state.observation)
    size = jnp.minimum(state.size, slots - history)
    for _ in range(2):  # an insert adds two rows at most, and a transition that leaves frees one
        oldest = state.row[(state.next - size) % slots, jnp.arange(num_envs)]
        used = (state.head - oldest) % rows + 1
        size = jnp.where((size > 0) & (used + (history + 1) > rows), size - 1, size)
    return size


def sample(state: ReplayState, key: Key, shape: tuple[int, ...], *how: Any) -> Transition:
    """Return transitions of leading axes `shape`, drawn uniformly and with replacement.

    The buffer must not be empty. See `look_up` for what else is given: discount, n-step, history.
    """
    draw = jax.random.randint(key, shape, 0, jnp.cumsum(state.size)[-1])
    return look_up(state, draw, *how)


def look_up(
    state: ReplayState,
    draw: Index,
    discount: float | Scalar,
    n_step: int = 1,
    history: int = 1,
) -> Transition:
    """Return transitions by number: from 0 through the environments, in each from the newest.

    Each spans `n_step` steps, or as many as there are to its episode's end, to the newest
    transition or to one that was not written: its reward is their discounted sum, `discount` that
    of the step after them, and the next observation what followed the last. Both observations are
    what networks see with `history`, see `training.compiled.history`; `insert` must know it too.
    """
    slots, rows = len(state.row), len(state.observation)
    ends = jnp.cumsum(state.size)
    # Whose range the draw falls in. (Compared with each end, 8,192 environments took 70 GB.)
    env = jnp.searchsorted(ends, draw, side="right", method="scan_unrolled")
    newest, newer = state.next[env] - 1, draw - (ends[env] - state.size[env])
    slot = (newest - newer) % slots
    row = state.row[slot, env]
    reward, length, last = state.reward[slot, env], 1, slot
    if n_step > 1:
        reward, length = _window(state, env, slot, newer, discount, n_step)
        last = (slot + length - 1) % slots
    found = Transition(
        observation=state.observation[row, env],
        action=state.action[slot, env],
        reward=reward,
        discount=jnp.where(state.terminated[last, env], 0.0, discount**length),
        next_observation=state.observation[(row + length) % rows, env],
    )
    if history == 1:
        return found
    age = _age(state, env, slot, history)
    following = slot + length, row + length, age + length
    return found._replace(
        observation=_seen(state, env, slot, row, age, history),
        next_observation=_seen(state, env, *following, history),
    )


def _age(state: ReplayState, env: Index, slot: Index, history: int) -> Index:
    """Return how many steps of its episode lie before a transition, as far as `history` reaches.

    Those are there: none has lost its slot or row to a newer one, see `_make_room`.
    """
    slots, rows = len(state.row), len(state.observation)
    back = jnp.arange(history)
    row = state.row[(slot[..., None] - back) % slots, env[..., None]]
    inside = row == (row[..., :1] - back) % rows  # as in `_window`
    return jnp.sum(jnp.cumprod(inside[..., 1:], axis=-1), axis=-1)


def _seen(
    state: ReplayState, env: Index, slot: Index, row: Index, age: Index, history: int
) -> Float[Array, "*shape seen"]:
    """Return what networks see of the observation in `row`, acted on in `slot`, at that `age`."""
    slots, rows = len(state.row), len(state.observation)
    back, env, age = jnp.arange(history), env[..., None], age[..., None]
    observations = state.observation[(row[..., None] - jnp.minimum(back, age)) % rows, env]
    actions = state.action[(slot[..., None] - back[1:]) % slots, env]
    actions = jnp.where((back[1:] <= age)[..., None], actions, 0.0)
    return history_lib.stack(observations, actions)


def _window(
    state: ReplayState, env: Index, slot: Index, newer: Index, discount: float | Scalar, n_step: int
) -> tuple[Float[Array, "*shape"], Index]:
    """Return the discounted sum of rewards from `slot` on, and of how many there are.

    At most `n_step`, in one episode, and none but the `newer` transitions after the first.
    """
    slots, rows = len(state.row), len(state.observation)
    ahead = jnp.arange(n_step)
    where = (slot[..., None] + ahead) % slots, env[..., None]
    row = state.row[where]
    # Where an episode or a gap ends it `row` jumps by two, and no later one can be near enough.
    inside = (ahead <= newer[..., None]) & (row == (row[..., :1] + ahead) % rows)
    rewards = jnp.where(inside, discount**ahead * state.reward[where], 0.0)
    return jnp.sum(rewards, axis=-1), jnp.sum(inside, axis=-1)
