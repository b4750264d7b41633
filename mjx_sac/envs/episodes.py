"""Episodes of any environment: batching, time limit, new episodes, non-finite values."""

import dataclasses
import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int32, UInt32

from mjx_sac.config import TrainingError
from mjx_sac.envs.base import Environment, reset_shape
from mjx_sac.types import Key, Step


class EpisodeState(struct.PyTreeNode):
    """The running episodes of all environments.

    Attributes:
      env: the states of all environments; the final one where an episode has ended.
      ended: the episode is over, and the next `start` begins a new one.
      length: environment steps of the episode so far.
      episode_return: sum of its rewards so far.
      pool: initial states for new episodes; every `refill` draws them again.
      pool_next: index of the next one to use.
    """

    env: Any
    ended: Bool[Array, " num_envs"]
    length: Int32[Array, " num_envs"]
    episode_return: Float[Array, " num_envs"]
    pool: Any
    pool_next: Int32[Array, ""]

    @property
    def observation(self) -> Float[Array, "num_envs observation"]:
        """What policies see, whatever type of number the states have."""
        return jnp.asarray(self.env.observation, jnp.float32)

    def started(self, **changes: Any) -> "EpisodeState":
        """Return the state with new episodes, without length or return, where one has ended."""
        return self.replace(
            length=jnp.where(self.ended, 0, self.length),
            episode_return=jnp.where(self.ended, 0.0, self.episode_return),
            **changes,
        )

    def stepped(self, env: Any, step: Step, valid: Array, length: Array) -> "EpisodeState":
        """Return the state after a vector step, which leaves the episodes at those lengths."""
        return self.replace(
            env=env,
            ended=step.terminated | step.truncated | ~valid,
            length=length,
            episode_return=self.episode_return + step.reward,
        )


def blank_state(env: Any, pool: Any, num_envs: int) -> EpisodeState:
    """Return a state in which no episode is running."""
    return EpisodeState(
        env=env,
        ended=jnp.ones(num_envs, bool),
        length=jnp.zeros(num_envs, jnp.int32),
        episode_return=jnp.zeros(num_envs),
        pool=pool,
        pool_next=jnp.zeros((), jnp.int32),
    )


class Outcome(NamedTuple):
    """The result of one vector step.

    Attributes:
      step: zeros where not `valid`.
      valid: false where the step must not be learned from.
      nonfinite: why not: the observation acted on, or anything that came back, is not finite.
    """

    step: Step
    valid: Bool[Array, " num_envs"]
    nonfinite: Bool[Array, " num_envs"]


Actions = Float[Array, "num_envs action"]
Stepped = tuple[EpisodeState, Outcome]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """`num_envs` copies of an environment as pure functions on an `EpisodeState`.

    Episodes begin at the start of a vector step, not at the end of the one before. So the final
    observation is never overwritten, and an `init` state needs no environment: all its episodes
    have "ended".
    """

    env: Environment
    num_envs: int
    episode_length: int
    action_repeat: int = 1
    pool_size: int = 128
    on_host = False
    failure = None

    def copies(self, num_envs: int) -> "Episodes":
        """Return `num_envs` other copies of the environment, with an initial state for each."""
        return dataclasses.replace(self, num_envs=num_envs, pool_size=num_envs)

    def close(self) -> None:
        """Do nothing: environments on the host alone hold anything outside the state."""

    def init(self) -> EpisodeState:
        """Return a state without episodes or initial states: `refill` before the first `start`."""
        shape = reset_shape(self.env.reset)

        def blank(n: int) -> Any:
            return jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), shape)

        return blank_state(blank(self.num_envs), blank(self.pool_size), self.num_envs)

    def refill(self, state: EpisodeState, key: Key) -> EpisodeState:
        """Draw all initial states again."""
        return self.refilled(state, self.draw(jax.random.split(key, self.pool_size)))

    def draw(self, keys: UInt32[Array, "n 2"]) -> Any:
        """Return an initial state for each key."""
        return jax.vmap(self.env.reset)(keys)

    def refilled(self, state: EpisodeState, pool: Any) -> EpisodeState:
        """Return `state` with `pool` for new episodes."""
        return state.replace(pool=pool, pool_next=jnp.zeros((), jnp.int32))

    def start(self, state: EpisodeState) -> EpisodeState:
        """Begin a new episode wherever one has ended, each from the next state of the pool.

        A pool that runs out is used from its start again.
        """
        index = (state.pool_next + jnp.cumsum(state.ended) - 1) % self.pool_size

        def renew(pool: Array, env: Array) -> Array:
            ended = state.ended.reshape(-1, *(1,) * (env.ndim - 1))
            return jnp.where(ended, pool[index], env)

        pool_next = (state.pool_next + jnp.sum(state.ended)) % self.pool_size
        env = jax.tree.map(renew, state.pool, state.env)
        return state.started(env=env, pool_next=pool_next.astype(jnp.int32))

    def send(self, state: EpisodeState, action: Actions) -> tuple[EpisodeState, Array]:
        """Hand over the actions; return an order token, on which whatever comes later depends.

        Environments on the host step between `send` and `receive`. Those on the device step in
        `receive`, and their order token is the action itself.
        """
        return state, action

    def receive(self, state: EpisodeState, order_token: Array, after: Any = None) -> Stepped:
        """Return what the sent actions led to; `after` matters on the host alone."""
        return self.step(state, order_token)

    def step(self, state: EpisodeState, action: Actions) -> Stepped:
        """Hold each action for `action_repeat` environment steps, or until the episode ends."""
        # An infinity that a reset put there is the environment's own affair. Which numbers are
        # finite is known before the step, so that no copy of the old state is kept through it.
        before, old = jax.lax.optimization_barrier((jax.vmap(_finite)(state.env), state.env))
        env, step, length = jax.vmap(self._repeat)(old, action, state.length)
        observations = jnp.concatenate([old.observation, step.observation], axis=-1)
        stays = jnp.all(jax.vmap(_finite)(env) | ~before, axis=-1)
        valid = jnp.all(jnp.isfinite(observations), axis=-1) & jnp.isfinite(step.reward) & stays
        step = Step(
            observation=jnp.where(valid[:, None], step.observation, 0.0),
            reward=jnp.where(valid, step.reward, 0.0),
            terminated=step.terminated & valid,
            truncated=step.truncated & ~step.terminated & valid,
        )
        return state.stepped(env, step, valid, length), Outcome(step, valid, ~valid)

    def _repeat(self, state: Any, action: Array, length: Array) -> tuple[Any, Step, Array]:
        """Return the last state, the summed step, and the episode's length."""
        last = self._step_once(state, action, length)
        for _ in range(self.action_repeat - 1):
            state, step, length = last
            # An episode that is over stays where it ended, and earns nothing more.
            over = step.terminated | step.truncated
            new, more, longer = self._step_once(state, action, length)
            more = more._replace(reward=step.reward + more.reward)
            last = jax.tree.map(partial(jnp.where, over), last, (new, more, longer))
        return last

    def _step_once(self, state: Any, action: Array, length: Array) -> tuple[Any, Step, Array]:
        new, step = self.env.step(state, action)
        truncated = step.truncated | (length + 1 >= self.episode_length)
        return new, step._replace(truncated=truncated), length + 1


def _finite(state: Any) -> Bool[Array, " numbers"]:
    """Return which numbers of a state are finite.

    They are concatenated first: MJX's state has a hundred arrays, each a kernel on a GPU.
    """
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.isfinite(jnp.concatenate(leaves or [jnp.zeros(0)]))


def callback_failure(error: Exception) -> TrainingError | None:
    """Return in one line what a user's `jax.pure_callback` raised in a program, if it did."""
    _, found, text = str(error).partition("Callback error calling callback: ")
    raised = " ".join(re.split(r'(?:\n  File ".*)+\n', text)[-1].split())
    text = f"env: a callback to Python raised {raised}; checkpoints saved before are intact"
    return TrainingError(text) if found else None
