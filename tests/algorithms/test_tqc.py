"""TQC's parts by hand and by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.networks import NETWORKS, batch, state
from helpers.runs import SMALL

from mjx_sac.algorithms import tqc
from mjx_sac.config import UsageError
from mjx_sac.networks import Networks
from mjx_sac.runs.resolve import resolve

pytestmark = pytest.mark.smoke


def test_the_largest_of_all_critics_are_left_out():
    # Of one row: 1, 2, 6 of the first critic and 3, 4, 5 of the second.
    quantiles = jnp.array([[[2.0, 6.0, 1.0]], [[5.0, 3.0, 4.0]]])
    np.testing.assert_array_equal(tqc.truncated(quantiles, 2), [[1, 2, 3, 4]])
    np.testing.assert_array_equal(tqc.truncated(quantiles, 0), [[1, 2, 3, 4, 5, 6]])


def test_the_quantile_huber_loss_by_hand():
    # tau = 1/4, 3/4; quantiles 0 and 2, samples 0.5 and 4. Differences 0.5 and 4 of the first,
    # -1.5 and 2 of the second. Huber: 0.125, 3.5 and 1, 1.5; weights 1/4, 1/4 and 1/4, 3/4.
    loss = tqc.quantile_huber_loss(jnp.array([[[0.0, 2.0]]]), jnp.array([[0.5, 4.0]]))
    assert float(loss) == pytest.approx((0.125 / 4 + 3.5 / 4 + 1 / 4 + 1.5 * 3 / 4) / 4)


def test_the_loss_is_smallest_at_the_samples_quantiles():
    """Up to 1, within which it is a square."""
    samples = jnp.arange(1.0, 102.0)[None]
    quantiles = jnp.zeros((2, 1, 3))
    gradient = jax.jit(jax.grad(lambda q: tqc.quantile_huber_loss(q, samples)))
    for _ in range(400):
        quantiles -= 100 * gradient(quantiles)
    wanted = np.quantile(np.arange(1, 102), [1 / 6, 1 / 2, 5 / 6])
    np.testing.assert_allclose(quantiles[1, 0], wanted, atol=1)


class Shifted:
    """Critics whose quantiles are their parameter plus -1, 0, 1, at any input."""

    def apply(self, params, observation, action):
        del action
        middle = params[:, None, None] + jnp.zeros((1, len(observation), 1))
        return middle + jnp.array([-1.0, 0.0, 1.0])


def test_the_critics_loss():
    # Targets of two critics at 3 and 5: quantiles 2 3 4 and 4 5 6, without the largest of each 2 3
    # 4 4, with the policy's entropy bonus and the reward as `helpers.networks` has them.
    made = state(critics=(1.0, 2.0), targets=(3.0, 5.0))
    rows = batch()
    config = tqc.Config(**SMALL, num_critics=2, quantiles=3, dropped_quantiles=1)
    networks = Networks(NETWORKS.actor, Shifted())
    key = jax.random.PRNGKey(0)
    args = {"networks": networks, "config": config}
    loss, metrics = tqc.critic(made.critic_params, made, rows, key, **args)
    log_prob = NETWORKS.actor.apply(made.actor_params, rows.next_observation).sample(key)[1]
    alpha = np.exp(made.log_alpha)
    kept = np.array([2, 3, 4, 4]) - alpha * np.asarray(log_prob)[:, None]
    target = np.asarray(rows.reward)[:, None] + np.asarray(rows.discount)[:, None] * kept
    total = 0.0
    for middle in (1.0, 2.0):
        for tau, quantile in zip((1 / 6, 1 / 2, 5 / 6), middle + np.array([-1, 0, 1]), strict=True):
            d = target - quantile
            huber = np.where(abs(d) > 1, abs(d) - 0.5, d**2 / 2)
            total += np.mean(abs(tau - (d < 0)) * huber)
    assert float(loss) == pytest.approx(total / 6, rel=1e-5)
    np.testing.assert_allclose(metrics["diagnostics/target"], target.mean(-1), rtol=1e-5)


def test_some_quantiles_must_be_left():
    problem = "dropped_quantiles 25 is not below quantiles 25"
    message = f"{problem}: lower dropped_quantiles or raise quantiles"
    with pytest.raises(UsageError, match=message):
        resolve({"env": "counter", "algorithm": "tqc", "dropped_quantiles": 25})
