"""Soft actor-critic's losses, with networks whose outputs can be read off by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.networks import NETWORKS, batch, state, updated
from helpers.runs import make_config

from mjx_sac import losses

pytestmark = pytest.mark.smoke
KEY = jax.random.PRNGKey(0)


@pytest.fixture(autouse=True)
def _no_silent_broadcast():
    with jax.numpy_rank_promotion("raise"):  # [B] against [B, 1] is an error, not a [B, B] result
        yield


@pytest.mark.parametrize(("discount", "expected"), [(0.9, 2.8), (0.0, 1.0)])
def test_target_bootstraps_unless_terminated(discount, expected):
    # By hand: 1 + 0.9 * (min(3, 4) - 0.5 * 2) = 2.8
    target = losses.soft_bellman_target(
        reward=jnp.array([1.0]),
        discount=jnp.array([discount]),
        next_q=jnp.array([[3.0, 4.0]]),
        next_log_prob=jnp.array([2.0]),
        alpha=jnp.float32(0.5),
    )
    np.testing.assert_allclose(target, [expected], rtol=1e-6)


@pytest.mark.parametrize("reward_scale", [1.0, 10.0])
def test_critic_loss(reward_scale):
    # Next action 0.5 at observation 0.5: target critics 3 and 4; with the scale for the reward,
    # y = scale + 0.9 (3 + 0.5 * 2) = scale + 3.6.
    # Q = (1 + 1) * (1, 2) = (2, 4); loss = ((2 - y)^2 + (4 - y)^2) / 2.
    config, s = make_config(reward_scale=reward_scale), state()
    loss, metrics = losses.critic_loss(
        s.critic_params, s, batch(), KEY, networks=NETWORKS, config=config
    )
    y = reward_scale + 3.6
    np.testing.assert_allclose(loss, ((2 - y) ** 2 + (4 - y) ** 2) / 2, rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(metrics["diagnostics/q"]), 3.0)
    np.testing.assert_allclose(jnp.max(metrics["diagnostics/target"]), y, rtol=1e-6)
    np.testing.assert_allclose(metrics["diagnostics/reward"], 1.0)


def test_actor_loss():
    # Action 0.5 at observation 1: Q = 1.5 * (1, 2), minimum 1.5; loss = 0.5 * -2 - 1.5 = -2.5.
    config, s = make_config(), state()
    loss, _ = losses.actor_loss(s.actor_params, s, batch(), KEY, networks=NETWORKS, config=config)
    np.testing.assert_allclose(loss, -2.5, rtol=1e-6)


@pytest.mark.parametrize(("target_entropy", "expected"), [(None, 1.5), (-4.0, 3.0)])
def test_temperature_loss_and_its_gradient(target_entropy, expected):
    # -alpha (log_prob + target) = -0.5 (-2 - 1) = 1.5 with the default of minus the action size;
    # its derivative in log alpha is the same number, so too much entropy (2 > -1) lowers alpha.
    config, s = make_config(target_entropy=target_entropy), state()

    def loss(log_alpha):
        return losses.temperature_loss(
            log_alpha, s, batch(), KEY, networks=NETWORKS, config=config
        )[0]

    found = [loss(s.log_alpha), jax.grad(loss)(s.log_alpha)]
    np.testing.assert_allclose(found, [expected] * 2, rtol=1e-6)


def test_golden_update():
    """One seeded update's scalars on a CPU. They change only when what is learned changes."""
    _, metrics = updated()
    golden = {
        "train/critic_loss": 0.93918425,
        "train/actor_loss": 0.03884774,
        "train/ent_coef_loss": 1.7604053,
        "train/ent_coef": 1.0,
    }
    assert {tag: float(metrics[tag]) for tag in golden} == pytest.approx(golden, rel=1e-4)
