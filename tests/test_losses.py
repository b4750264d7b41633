"""Losses and one update, with networks whose outputs can be read off by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.networks import NETWORKS, batch, real_batch, state
from helpers.runs import make_config, make_experiment

from mjx_sac import losses, networks
from mjx_sac.algorithms import base

pytestmark = pytest.mark.smoke


@pytest.fixture(autouse=True)
def _no_silent_broadcast():
    with jax.numpy_rank_promotion("raise"):  # [B] against [B, 1] is an error, not a [B, B] result
        yield


@pytest.mark.parametrize(("discount", "expected"), [(0.9, 2.8), (0.0, 1.0)])
def test_target_bootstraps_unless_terminated(discount, expected):
    # By hand: 1 + 0.9 * (min(3, 4) - 0.5 * 2) = 2.8
    target = losses.soft_bellman_target(
        jnp.array([1.0]),
        jnp.array([discount]),
        jnp.array([[3.0, 4.0]]),
        jnp.array([2.0]),
        jnp.float32(0.5),
    )
    np.testing.assert_allclose(target, [expected], rtol=1e-6)


@pytest.mark.parametrize("reward_scale", [1.0, 10.0])
def test_critic_loss(reward_scale):
    # Next action 0.5 at observation 0.5: target critics 3 and 4; y = scale + 0.9 (3 + 0.5 * 2) = scale + 3.6.
    # Q = (1 + 1) * (1, 2) = (2, 4); loss = ((2 - y)^2 + (4 - y)^2) / 2.
    config, s = make_config(reward_scale=reward_scale), state()
    loss, metrics = losses.critic_loss(
        s.critic_params, s, batch(), jax.random.PRNGKey(0), networks=NETWORKS, config=config
    )
    y = reward_scale + 3.6
    np.testing.assert_allclose(loss, ((2 - y) ** 2 + (4 - y) ** 2) / 2, rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(metrics["diagnostics/q"]), 3.0)
    np.testing.assert_allclose(jnp.max(metrics["diagnostics/target"]), y, rtol=1e-6)
    np.testing.assert_allclose(metrics["diagnostics/reward"], 1.0)


def test_actor_loss():
    # Action 0.5 at observation 1: Q = 1.5 * (1, 2), minimum 1.5; loss = 0.5 * -2 - 1.5 = -2.5.
    s = state()
    loss, _ = losses.actor_loss(
        s.actor_params, s, batch(), jax.random.PRNGKey(0), networks=NETWORKS, config=make_config()
    )
    np.testing.assert_allclose(loss, -2.5, rtol=1e-6)


@pytest.mark.parametrize(("target_entropy", "expected"), [(None, 1.5), (-4.0, 3.0)])
def test_temperature_loss_and_its_gradient(target_entropy, expected):
    # -alpha (log_prob + target) = -0.5 (-2 - 1) = 1.5 with the default of minus the action size; its derivative in
    # log alpha is the same number, so a policy of too much entropy (2 > -1) lowers alpha.
    config, s = make_config(target_entropy=target_entropy), state()
    loss = lambda x: losses.temperature_loss(
        x, s, batch(), jax.random.PRNGKey(0), networks=NETWORKS, config=config
    )[0]  # noqa: E731
    np.testing.assert_allclose(
        [loss(s.log_alpha), jax.grad(loss)(s.log_alpha)], [expected] * 2, rtol=1e-6
    )


def updated(steps=1, **overrides):
    agent = make_experiment(**overrides)
    static = {"networks": agent.networks, "config": agent.config}
    train = base.init(jax.random.PRNGKey(0), 2, 1, **static)
    update = jax.jit(
        lambda t, k: base.update(t, real_batch(agent.config), k, **static, losses=agent.losses)
    )
    history, metrics = [train], {}
    for i in range(steps):
        train, metrics = update(train, jax.random.split(jax.random.PRNGKey(i)))
        history.append(train)
    return history, metrics


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


def test_target_critics_move_by_tau_every_target_delay_updates():
    history, _ = updated(4, target_delay=2, tau=0.25)
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    targets, critics = (
        [flat(t.target_critic_params) for t in history],
        [flat(t.critic_params) for t in history],
    )
    np.testing.assert_array_equal(targets[1], targets[0])
    np.testing.assert_allclose(targets[2], 0.75 * targets[0] + 0.25 * critics[2], atol=1e-6)
    np.testing.assert_array_equal(targets[3], targets[2])
    np.testing.assert_allclose(targets[4], 0.75 * targets[2] + 0.25 * critics[4], atol=1e-6)


def test_a_shorter_target_delay_takes_effect_on_a_state_that_waited_longer():
    agent = make_experiment(target_delay=2)
    static = {"networks": agent.networks, "config": agent.config}
    train = base.init(jax.random.PRNGKey(0), 2, 1, **static).replace(
        since_target_update=jnp.int32(3)
    )
    train, _ = base.update(
        train,
        real_batch(agent.config),
        jax.random.split(jax.random.PRNGKey(0)),
        **static,
        losses=agent.losses,
    )
    assert int(train.since_target_update) == 0


def test_each_learning_rate_drives_its_own_parameters():
    """Adam's first step has the length of the learning rate in every coordinate that has a gradient."""
    history, _ = updated(1, policy_lr=1e-2, q_lr=1e-3, alpha_lr=1e-1)
    step = lambda name: max(  # noqa: E731
        float(jnp.max(jnp.abs(a - b)))
        for a, b in zip(*(jax.tree.leaves(getattr(t, name)) for t in history), strict=True)
    )
    assert step("actor_params") == pytest.approx(1e-2, rel=1e-2)
    assert step("critic_params") == pytest.approx(1e-3, rel=1e-2)
    assert step("log_alpha") == pytest.approx(1e-1, rel=1e-2)


def test_critics_are_independent_and_equal_separate_networks():
    agent = make_experiment()
    x, a = jnp.ones((5, 2)), jnp.ones((5, 1))
    params = agent.networks.critic.init(jax.random.PRNGKey(3), x, a)
    q = agent.networks.critic.apply(params, x, a)
    assert q.shape == (5, 2)
    assert not np.allclose(q[:, 0], q[:, 1])
    layers = jax.tree.leaves(params)
    for i in range(2):  # by hand: relu(z W0 + b0) W1' + b1, leaves in the order b1, W1, b0, W0
        b1, w1, b0, w0 = (np.asarray(leaf[i]) for leaf in layers)
        np.testing.assert_allclose(
            q[:, i], (np.maximum(np.ones((5, 3)) @ w0 + b0, 0) @ w1.T + b1)[:, 0], rtol=1e-5
        )


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_the_joint_first_layer_has_the_gradient_of_a_concatenation(batch):
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    x, y = jax.random.normal(keys[0], (*batch, 3)), jax.random.normal(keys[1], (*batch, 2))
    kernel, weight = jax.random.normal(keys[2], (5, 4)), jax.random.normal(keys[3], (*batch, 4))
    ours = jax.grad(lambda x, y, k: jnp.sum(weight * networks._join((x, y), k)), (0, 1, 2))(
        x, y, kernel
    )
    theirs = jax.grad(
        lambda x, y, k: jnp.sum(weight * (jnp.concatenate([x, y], -1) @ k)), (0, 1, 2)
    )(x, y, kernel)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_both_kinds_of_layer_start_as_lecun_uniform():
    """Uniform within sqrt(3 / inputs), whichever way round the kernel is kept."""
    params = networks.MLP((300,), 200).init(jax.random.PRNGKey(0), jnp.ones((1, 400)))["params"]
    for layer, inputs in (("Join_0", 400), ("Head_0", 300)):
        kernel, bound = np.asarray(params[layer]["kernel"]), (3 / inputs) ** 0.5
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.02)
