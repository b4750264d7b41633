"""Small data sets, and what is in them."""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_sac.runs.recorded import Episode, Recorded
from mjx_sac.training.compiled import replay

SPACES = {"action": {"shape": [1], "dtype": "float32", "low": [-1.0], "high": [1.0]}}
GAMMA = 0.9


def episode(start, n, terminated, whole=True):
    """An episode whose every number is known: it observes (start, 0), (start, 1), ..., and the
    reward of its i-th step is 10 start + i.
    """
    steps = np.arange(n + 1.0)
    observation = np.stack([np.full(n + 1, start), steps], axis=1).astype(np.float32)
    action = (steps[:n, None] / 8 - start / 16).astype(np.float32)
    reward = (10 * start + steps[:n]).astype(np.float32)
    return Episode(observation, action, reward, terminated, whole)


def recorded(*episodes, spaces=SPACES):
    return Recorded.of(episodes or (episode(1, 3, True), episode(2, 2, False)), spaces)


def transitions(buffer, n_step=1, history=1):
    """Return the rows of all transitions in a replay buffer, in the order of `look_up`."""
    total = int(jnp.sum(buffer.size))
    look_up = jax.jit(replay.look_up, static_argnums=(2, 3, 4))
    found = look_up(buffer, jnp.arange(total), GAMMA, n_step, history)
    return np.concatenate([np.asarray(x).reshape(total, -1) for x in found], axis=1)


def same_rows(a, b):
    """Assert that the same transitions are in both tables, each as often, to the last bit."""
    np.testing.assert_array_equal(*(x[np.lexsort(x.T[::-1])] for x in (a, b)))
