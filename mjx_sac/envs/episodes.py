"""Everything about episodes, once and for every environment: batching, time limit, new episodes, non-finite values."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int32, UInt32

from mjx_sac.config import UsageError
from mjx_sac.envs.base import Environment, physics_precision, reset_shape
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
      valid: false where that step must not be learned from.
      nonfinite: why not: the observation acted on, or anything the environment returned, is not finite.
    """

    step: Step
    valid: Bool[Array, " num_envs"]
    nonfinite: Bool[Array, " num_envs"]


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
    on_host = False
    failure = None

    def copies(self, num_envs: int) -> "Episodes":
        """As many copies of the environment, with an initial state for each."""
        return dataclasses.replace(self, num_envs=num_envs, pool_size=num_envs)

    def close(self) -> None:
        """Nothing lives outside of the state."""

    def init(self) -> EpisodeState:
        """No episode is running and the pool is blank: `refill` before the first `start`."""
        shape = reset_shape(self.env.reset)

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
        return self.refilled(state, self.draw(jax.random.split(key, self.pool_size)))

    def draw(self, keys: UInt32[Array, "n 2"]) -> Any:
        """An initial state for each key."""
        with physics_precision():
            return jax.vmap(self.env.reset)(keys)

    def refilled(self, state: EpisodeState, pool: Any) -> EpisodeState:
        """`state` with `pool` for new episodes."""
        return state.replace(pool=_cast(pool, state.pool), pool_next=jnp.zeros((), jnp.int32))

    def start(self, state: EpisodeState) -> EpisodeState:
        """Begins a new episode wherever one has ended, each from the next state of the pool.

        A pool that runs out is used from its start again.
        """
        index = (state.pool_next + jnp.cumsum(state.ended) - 1) % self.pool_size
        return state.replace(
            env=jax.tree.map(
                lambda pool, env: _where(state.ended, pool[index], env), state.pool, state.env
            ),
            length=jnp.where(state.ended, 0, state.length),
            episode_return=jnp.where(state.ended, 0.0, state.episode_return),
            pool_next=((state.pool_next + jnp.sum(state.ended)) % self.pool_size).astype(jnp.int32),
        )

    def send(
        self, state: EpisodeState, action: Float[Array, "num_envs action"]
    ) -> tuple[EpisodeState, Array]:
        """Says what will be done; `receive` does it. Environments on the host are under way in between."""
        return state, action

    def receive(
        self, state: EpisodeState, ticket: Array, after: Any = None
    ) -> tuple[EpisodeState, Outcome]:
        """`step` with the action that `send` was given."""
        del after
        return self.step(state, ticket)

    def step(
        self, state: EpisodeState, action: Float[Array, "num_envs action"]
    ) -> tuple[EpisodeState, Outcome]:
        """Holds each action for `action_repeat` environment steps, or until the episode ends."""
        # An infinity that a reset put there is the environment's own affair. Which ones there are is known before the step, so
        # that nothing keeps a copy of the old state alive through it.
        before, old = jax.lax.optimization_barrier((jax.vmap(_finite)(state.env), state.env))
        with physics_precision():
            env, step, length = jax.vmap(self._repeat)(old, action, state.length)
        observations = jnp.concatenate([old.observation, step.observation], axis=-1)
        stays = jnp.all(jax.vmap(_finite)(env) | ~before, axis=-1)
        valid = jnp.all(jnp.isfinite(observations), axis=-1) & jnp.isfinite(step.reward) & stays
        reward = jnp.where(valid, step.reward, 0.0)
        step = Step(
            observation=jnp.where(valid[:, None], step.observation, 0.0),
            reward=reward,
            terminated=step.terminated & valid,
            truncated=step.truncated & ~step.terminated & valid,
        )
        state = state.replace(
            env=env,
            ended=step.terminated | step.truncated | ~valid,
            length=length,
            episode_return=state.episode_return + reward,
        )
        return state, Outcome(step, valid, ~valid)

    def _repeat(
        self, state: Any, action: Float[Array, " action"], length: Int32[Array, ""]
    ) -> tuple[Any, Step, Array]:
        """Returns the state, what the steps came to, and the episode's length after them."""
        new, step, length = self._step_once(state, action, length)
        for _ in range(self.action_repeat - 1):
            # An episode that is over stays where it ended, and earns nothing more.
            over = step.terminated | step.truncated
            after = self._step_once(new, action, length)
            after = (after[0], after[1]._replace(reward=step.reward + after[1].reward), after[2])
            before = (new, step, length)
            new, step, length = jax.tree.map(
                lambda a, b, over=over: jnp.where(over, a, b), before, after
            )
        return new, step, length

    def _step_once(
        self, state: Any, action: Float[Array, " action"], length: Int32[Array, ""]
    ) -> tuple[Any, Step, Array]:
        new, step = self.env.step(state, action)
        length = length + 1
        step = Step(
            observation=jnp.asarray(step.observation, jnp.float32),
            reward=jnp.asarray(step.reward, jnp.float32),
            terminated=jnp.asarray(step.terminated, bool),
            truncated=jnp.asarray(step.truncated, bool) | (length >= self.episode_length),
        )
        return _cast(new, state), step, length


def _finite(state: Any) -> Bool[Array, " numbers"]:
    """Which numbers are. All side by side first, for MJX's state has a hundred arrays, and on a GPU each would be a kernel."""
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.isfinite(jnp.concatenate(leaves))


def _where(mask: Bool[Array, " n"], a: Array, b: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)


def _cast(new: Any, old: Any) -> Any:
    """`new` with the types of `old`, so that a compiled loop's state never changes type.

    Raises:
      UsageError: the environment returned a state of another structure or shape.
    """
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise UsageError(
            "env: step returns a state of another structure than reset does: make them equal"
        )
    for (path, a), b in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            name = jax.tree_util.keystr(path)
            raise UsageError(
                f"env: state{name} has shape {jnp.shape(a)} after step, {jnp.shape(b)} after reset"
            )
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), new, old)
