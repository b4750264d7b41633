"""An environment whose step factors three matrices at once, as those of constrained bodies do; batched, by LAPACK in threads."""

import jax
import jax.numpy as jnp

from mjx_sac.envs.base import State
from mjx_sac.types import Step

SIZE = 14


class Factoring:
    """Observes the traces of the factors; an episode has no end of its own."""

    observation_size = 3
    action_size = 1

    def reset(self, key):
        return State(jax.random.uniform(key, (3,)), jnp.int32(0))

    def step(self, state, action):
        def trace(x):
            return jnp.trace(jnp.linalg.cholesky(jnp.full((SIZE, SIZE), x) + SIZE * jnp.eye(SIZE))) / SIZE

        observation = jnp.tanh(jnp.stack([trace(x) for x in state.observation]) + action)
        return State(observation, state.inner + 1), Step(observation, observation[0], jnp.array(False), jnp.array(False))
