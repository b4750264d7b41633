"""A replay buffer that keeps each observation once, as pure functions on a state.

Every environment writes two rings of its own:

    observations   o0 o1 o2 ... oT | o0' o1' ...      the next observation of a row is the row after it
    transitions    (a0 r0 row 0) (a1 r1 row 1) ...    `row` says where a transition's observation lies

An episode's last observation takes a row too, so a time limit bootstraps from the true one and no transition ever reaches
across a reset. That row belongs to no transition: nothing has to be rejected when sampling, which is uniform over the
transitions by construction. A table of (s, a, r, d, s') keeps every observation twice.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int32

from mjx_sac.types import Key, Scalar, Transition


class ReplayState(struct.PyTreeNode):
    """Attributes:
    observation: rings of observations, one more row per episode than there are transitions.
    action: rings of actions.
    reward: rings of unscaled rewards.
    terminated: whether the transition ended its episode for good.
    row: where in `observation` the transition starts.
    head: per environment, the row of `observation` written last.
    next: per environment, the slot of the next transition.
    size: per environment, the transitions that can be sampled; they are the ones right before `next`.
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
    """An empty buffer for `buffer_size` transitions, rounded down to a multiple of `num_envs`.

    There is room for the final observations of episodes that last `episode_length` transitions. Where episodes are
    shorter, the oldest transitions leave a little sooner: `size` says what is there.
    """
    slots = buffer_size // num_envs
    rows = (
        slots + -(-slots // episode_length) + 3
    )  # the current episode's final row, and the two an insert may add
    return ReplayState(
        observation=jnp.zeros((rows, num_envs, observation_size)),
        action=jnp.zeros((slots, num_envs, action_size)),
        reward=jnp.zeros((slots, num_envs)),
        terminated=jnp.zeros((slots, num_envs), bool),
        row=jnp.zeros((slots, num_envs), jnp.int32),
        head=jnp.zeros(num_envs, jnp.int32),
        next=jnp.zeros(num_envs, jnp.int32),
        size=jnp.zeros(num_envs, jnp.int32),
    )


def insert(
    state: ReplayState,
    transition: Transition,
    started: Bool[Array, " num_envs"],
    valid: Bool[Array, " num_envs"],
) -> ReplayState:
    """Adds one transition per environment.

    Args:
      state: the buffer.
      transition: batched over environments. Of its `discount` only whether it is zero is kept.
      started: the transition is the first of its episode, so its observation is not the row before it. True for every
        environment at the first insert.
      valid: where false nothing is written, and the environment's next transition must be a started one.
    """
    slots, num_envs = state.row.shape
    rows = state.observation.shape[0]
    envs = jnp.arange(num_envs)
    # Read before it is written, or XLA keeps a copy of the ring for those who read it later.
    size, row = jax.lax.optimization_barrier((_make_room(state), state.row))

    # A started episode writes its first observation; otherwise that is already the head. Out-of-range slots drop the write.
    first = jnp.where(started, state.head + 1, state.head) % rows
    observation = state.observation.at[jnp.where(valid & started, first, rows), envs].set(
        transition.observation
    )
    last = (first + 1) % rows
    observation = observation.at[jnp.where(valid, last, rows), envs].set(
        transition.next_observation
    )
    slot = jnp.where(valid, state.next, slots)
    return state.replace(
        observation=observation,
        action=state.action.at[slot, envs].set(transition.action),
        reward=state.reward.at[slot, envs].set(transition.reward),
        terminated=state.terminated.at[slot, envs].set(transition.discount == 0),
        row=row.at[slot, envs].set(first),
        head=jnp.where(valid, last, state.head),
        next=jnp.where(valid, (state.next + 1) % slots, state.next),
        size=jnp.where(valid, size + 1, size),
    )


def _make_room(state: ReplayState) -> Int32[Array, " num_envs"]:
    """Forgets the oldest transitions until one more slot and two more rows are free."""
    slots, num_envs = state.row.shape
    rows = state.observation.shape[0]
    size = jnp.minimum(state.size, slots - 1)
    for _ in range(2):  # each transition forgotten frees at least one row, and two are enough
        oldest = state.row[(state.next - size) % slots, jnp.arange(num_envs)]
        used = (state.head - oldest) % rows + 1
        size = jnp.where((size > 0) & (used + 2 > rows), size - 1, size)
    return size


def sample(
    state: ReplayState, key: Key, shape: tuple[int, ...], discount: float | Scalar
) -> Transition:
    """Transitions drawn uniformly, with replacement, with leading axes `shape`. The buffer must not be empty."""
    return look_up(state, jax.random.randint(key, shape, 0, jnp.cumsum(state.size)[-1]), discount)


def look_up(
    state: ReplayState, draw: Int32[Array, "*shape"], discount: float | Scalar
) -> Transition:
    """The transitions with these numbers, counted from 0 through the environments, and in each from the newest."""
    slots, rows = state.row.shape[0], state.observation.shape[0]
    ends = jnp.cumsum(state.size)
    env = jnp.sum(draw[..., None] >= ends, axis=-1)  # whose range the draw falls in
    slot = (state.next[env] - 1 - (draw - (ends[env] - state.size[env]))) % slots
    row = state.row[slot, env]
    return Transition(
        observation=state.observation[row, env],
        action=state.action[slot, env],
        reward=state.reward[slot, env],
        discount=jnp.where(state.terminated[slot, env], 0.0, discount),
        next_observation=state.observation[(row + 1) % rows, env],
    )
