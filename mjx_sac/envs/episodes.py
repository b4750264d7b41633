"""Everything about episodes, once and for every environment: batching, time limit, new episodes, non-finite values."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int32

from mjx_sac.config import UsageError
from mjx_sac.envs.base import Environment
from mjx_sac.types import Key, Step


class EpisodeState(struct.PyTreeNode):
    """Attributes:
    env: the states of all environments. Where an episode has ended it is still the final one.
    ended: the episode is over, and the next `start` begins a new one.
    length: environment steps of the episode so far.
    episode_return: its rewards so far, summed.
    pool: initial states for new episodes, drawn afresh by every `refill`.
    pool_next: how many of them have been used.
    """

    env: Any
    ended: Bool[Array, " num_envs"]
    length: Int32[Array, " num_envs"]
    episode_return: Float[Array, " num_envs"]
    pool: Any
    pool_next: Int32[Array, ""]


class Outcome(NamedTuple):
    """One vector step.

    Attributes:
      step: with the true next observation; zeros where not `valid`.
      valid: false where the environment returned something that is not finite. That step must not be learned from.
    """

    step: Step
    valid: Bool[Array, " num_envs"]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """`num_envs` copies of an environment as pure functions on an `EpisodeState`.

    Episodes begin at the start of a vector step, not at the end of the one before. So the final observation is never
    overwritten, and an `init` state needs no environment: all its episodes have "ended".
    """

    env: Environment
    num_envs: int
    episode_length: int
    action_repeat: int = 1
    pool_size: int = 128

    def init(self) -> EpisodeState:
        """No episode is running and the pool is blank: `refill` before the first `start`."""
        shape = jax.eval_shape(self.env.reset, jax.random.PRNGKey(0))

        def blank(n: int) -> Any:
            return jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), shape)

        return EpisodeState(
            env=blank(self.num_envs),
            ended=jnp.ones(self.num_envs, bool),
            length=jnp.zeros(self.num_envs, jnp.int32),
            episode_return=jnp.zeros(self.num_envs),
            pool=blank(self.pool_size),
            pool_next=jnp.zeros((), jnp.int32),
        )

    def refill(self, state: EpisodeState, key: Key) -> EpisodeState:
        """Draws all initial states anew."""
        with jax.default_matmul_precision("highest"):
            pool = jax.vmap(self.env.reset)(jax.random.split(key, self.pool_size))
        return state.replace(pool=_cast(pool, state.pool), pool_next=jnp.zeros((), jnp.int32))

    def start(self, state: EpisodeState) -> EpisodeState:
        """Begins a new episode wherever one has ended, each from the next state of the pool.

        A pool that runs out is used from its start again.
        """
        index = (state.pool_next + jnp.cumsum(state.ended) - 1) % self.pool_size
        return state.replace(
            env=jax.tree.map(lambda pool, env: _where(state.ended, pool[index], env), state.pool, state.env),
            length=jnp.where(state.ended, 0, state.length),
            episode_return=jnp.where(state.ended, 0.0, state.episode_return),
            pool_next=((state.pool_next + jnp.sum(state.ended)) % self.pool_size).astype(jnp.int32),
        )

    def step(self, state: EpisodeState, action: Float[Array, "num_envs action"]) -> tuple[EpisodeState, Outcome]:
        """Holds each action for `action_repeat` environment steps, or until the episode ends."""
        with jax.default_matmul_precision("highest"):
            env, step = jax.vmap(self._repeat)(state.env, action)
        valid = jnp.all(jnp.isfinite(step.observation), axis=-1) & jnp.isfinite(step.reward)
        length = state.length + self.action_repeat
        truncated = (step.truncated | (length >= self.episode_length)) & ~step.terminated & valid
        reward = jnp.where(valid, step.reward, 0.0)
        step = Step(
            observation=jnp.where(valid[:, None], step.observation, 0.0),
            reward=reward,
            terminated=step.terminated & valid,
            truncated=truncated,
        )
        state = state.replace(
            env=env,
            ended=step.terminated | truncated | ~valid,
            length=length,
            episode_return=state.episode_return + reward,
        )
        return state, Outcome(step, valid)

    def _repeat(self, state: Any, action: Float[Array, " action"]) -> tuple[Any, Step]:
        new, step = self._step_once(state, action)
        for _ in range(self.action_repeat - 1):
            # An episode that is over stays where it ended, and earns nothing more.
            over = step.terminated | step.truncated
            next_state, next_step = self._step_once(new, action)
            new = jax.tree.map(lambda a, b, over=over: jnp.where(over, a, b), new, next_state)
            observation = jnp.where(over, step.observation, next_step.observation)
            reward = step.reward + jnp.where(over, 0.0, next_step.reward)
            step = Step(observation, reward, over | next_step.terminated, over | next_step.truncated)
        return new, step

    def _step_once(self, state: Any, action: Float[Array, " action"]) -> tuple[Any, Step]:
        new, step = self.env.step(state, action)
        step = Step(
            observation=jnp.asarray(step.observation, jnp.float32),
            reward=jnp.asarray(step.reward, jnp.float32),
            terminated=jnp.asarray(step.terminated, bool),
            truncated=jnp.asarray(step.truncated, bool),
        )
        return _cast(new, state), step


def _where(mask: Bool[Array, " n"], a: Array, b: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)


def _cast(new: Any, old: Any) -> Any:
    """`new` with the types of `old`, so that a compiled loop's state never changes type.

    Raises:
      UsageError: the environment returned a state of another structure or shape.
    """
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise UsageError("env: step returns a state of another structure than reset does: make them equal")
    for (path, a), b in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            name = jax.tree_util.keystr(path)
            raise UsageError(f"env: state{name} has shape {jnp.shape(a)} after step, {jnp.shape(b)} after reset")
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), new, old)
