"""Small environments in JAX that a test can compute by hand."""

import jax
import jax.numpy as jnp
from flax import struct

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


class Asymmetric:
    """The actor sees (x, steps), the critics a goal too: reward -(x - goal)^2, action moves x.

    `privileged_state` is `state` and the goal; `spare` is seen by default where `names` asks.
    """

    observation_size = 2 + 3 + 4
    action_size = 1
    time_limit = 5

    def _seen(self, x, goal, steps):
        state = jnp.hstack([x, steps])
        spare = {"a": jnp.full(2, 7.0), "b": jnp.full((1, 2), 8.0)}
        return {"state": state, "privileged_state": jnp.hstack([state, goal]), "spare": spare}

    def reset(self, key):
        x, goal = jax.random.uniform(key, (2,), minval=-1.0)
        return State(self._seen(x, goal, 0.0), jnp.stack([x, goal, 0.0]))

    def step(self, state, action):
        x, goal, steps = state.inner
        x, steps = jnp.clip(x + action[0], -1, 1), steps + 1
        seen = self._seen(x, goal, steps)
        step = Step(seen, -jnp.square(x - goal), jnp.array(False), jnp.array(False))
        return State(seen, jnp.stack([x, goal, steps])), step


class Inner(struct.PyTreeNode):
    count: jax.Array
    metrics: dict


class Reporting(Counter):
    """A Counter whose state has `metrics`, as Brax's.

    Half its reward, the steps left to 10, whether it has counted to `ends_at` from a start below
    0.5, and an array, which is no scalar.
    """

    def reset(self, key):
        return self._reporting(super().reset(key), jnp.int32(0), jnp.float32(0))

    def step(self, state, action):
        inner = state.inner.count, jnp.zeros((0, 3))
        new, step = super().step(State(state.observation, inner), action)
        return self._reporting(new, new.inner[0], step.reward), step

    def _reporting(self, state, count, reward):
        metrics = {
            "reward_half": reward / 2,
            "left": 10 - count,
            "success": (count >= self.ends_at) & (state.observation[0] < 0.5),
            "array": jnp.zeros(3),
        }
        return State(state.observation, Inner(count, metrics))


class Heavy:
    """Observes its mass and steps, and earns its mass: 1, or from 1 to 2 where models differ."""

    observation_size = 2
    action_size = 1

    def randomize(self, keys):
        return {"mass": jax.vmap(lambda key: jax.random.uniform(key, minval=1.0, maxval=2.0))(keys)}

    def _at(self, steps, model):
        mass = model["mass"] if model else jnp.float32(1)
        return State(jnp.stack([mass, steps]), {"mass": mass})

    def reset(self, key, model=None):
        return self._at(jnp.float32(0), model)

    def step(self, state, action, model=None):
        state, no = self._at(state.observation[1] + 1, model), jnp.array(False)
        return state, Step(state.observation, state.observation[0], no, no)
