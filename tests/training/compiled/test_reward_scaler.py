"""Scaling rewards by their discounted sums, against two other implementations' traces."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_sac.training.compiled import reward_scaler
from mjx_sac.types import Step

pytestmark = pytest.mark.smoke

RECORDED = pathlib.Path(__file__).parents[2] / "algorithms/recorded"


def steps(reward, terminated, truncated) -> Step:
    rewards = np.asarray(reward, np.float32)
    ends = (np.asarray(x, bool) for x in (terminated, truncated))
    return Step(np.zeros((*rewards.shape, 1), np.float32), rewards, *ends)


def run(step, valid=None, discount=0.99, max_return=None):
    """Return the states after each step, and what rewards were divided by."""
    valid = jnp.ones(step.reward.shape, bool) if valid is None else jnp.asarray(valid)

    def one(state, inputs):
        state = reward_scaler.update(state, *inputs, discount)
        return state, (state, reward_scaler.divisor(state, max_return))

    start = reward_scaler.init(step.reward.shape[1])
    return jax.lax.scan(one, start, (jax.tree.map(jnp.asarray, step), valid))[1]


@pytest.mark.parametrize(("name", "max_return"), [("flashsac", 5.0), ("xqc", None)])
def test_twelve_steps_are_scaled_as_by_the_authors(name, max_return):
    theirs = dict(np.load(RECORDED / f"{name}.npz"))
    step = steps(*(theirs[f"scaling/{k}"] for k in ("reward", "terminated", "truncated")))
    states, divisors = run(step, max_return=max_return)
    np.testing.assert_allclose(states.returns, theirs["scaling/G_r"], atol=1e-6)
    # Their variance begins as if it had seen 1e-4 of a value: gone after the first steps.
    np.testing.assert_allclose(states.stats.var[:, 0], theirs["scaling/rms_var"], rtol=2e-4)
    scaled = step.reward / np.asarray(divisors)[:, None]
    np.testing.assert_allclose(scaled, theirs["scaling/scaled"], rtol=2e-4)


def test_returns_of_two_environments_by_hand():
    # The first ends at its second step; the second has no valid second step.
    step = steps(
        [[1, 2], [4, 100], [1, 1]], [[False] * 2, [True, False], [False] * 2], [[False] * 2] * 3
    )
    valid = [[True, True], [True, False], [True, True]]
    states, divisors = run(step, valid, discount=0.5, max_return=2.0)
    np.testing.assert_allclose(states.returns, [[1, 2], [4, 0], [3, 1]])
    seen = [1, 2, 4, 3, 1]
    np.testing.assert_allclose(states.stats.var[-1, 0], np.var(seen), rtol=1e-6)
    np.testing.assert_allclose(states.largest, [2, 4, 4])
    np.testing.assert_allclose(divisors[-1], max(np.std(seen), 4 / 2), rtol=1e-6)
