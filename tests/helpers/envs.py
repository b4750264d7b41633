"""Small environments in JAX that a test can compute by hand."""

import jax
import jax.numpy as jnp

from mjx_sac.envs.base import State
from mjx_sac.types import Step

SIZE = 14


class Counter:
    """Counts its steps, starting from a drawn number: observation = (start, steps).

    Reward is the count before the step. The state has an array without elements, as MJX's has.

    Attributes:
      ends_at: terminates at this count.
      breaks_at: its observation becomes NaN at this count.
    """

    observation_size = 2
    action_size = 1

    def __init__(self, ends_at: int = 1000, breaks_at: int = 1000) -> None:
        self.ends_at, self.breaks_at = ends_at, breaks_at

    def reset(self, key):
        start = jax.random.uniform(key)
        return State(jnp.stack([start, 0.0]), (jnp.int32(0), jnp.zeros((0, 3))))

    def step(self, state, action):
        count = state.inner[0] + 1
        observation = jnp.stack(
            [state.observation[0], jnp.where(count == self.breaks_at, jnp.nan, count * 1.0)]
        )
        step = Step(
            observation, state.inner[0].astype(jnp.float32), count >= self.ends_at, jnp.array(False)
        )
        return State(observation, (count, state.inner[1])), step


class Factoring:
    """A step factors three matrices at once, as those of constrained bodies do: batched, by LAPACK.

    Observes the traces of the factors; episodes end by the time limit alone.
    """

    observation_size = 3
    action_size = 1

    def reset(self, key):
        return State(jax.random.uniform(key, (3,)), jnp.int32(0))

    def step(self, state, action):
        def trace(x):
            return (
                jnp.trace(jnp.linalg.cholesky(jnp.full((SIZE, SIZE), x) + SIZE * jnp.eye(SIZE)))
                / SIZE
            )

        observation = jnp.tanh(jnp.stack([trace(x) for x in state.observation]) + action)
        return State(observation, state.inner + 1), Step(
            observation, observation[0], jnp.array(False), jnp.array(False)
        )
