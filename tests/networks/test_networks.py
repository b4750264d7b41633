"""The actor's distribution, the critics as an ensemble, and the layers they are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.runs import make_experiment
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mjx_sac import networks
from mjx_sac.networks import TanhGaussian

pytestmark = pytest.mark.smoke


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 1.5))
def test_log_probability_agrees_with_a_numerical_jacobian(seed, scale):
    # log pi(a) = log N(x) - log |da/dx|, the slope of x -> a by central differences in float64.
    mean = np.array([[0.3, -0.7]], np.float32)
    distribution = TanhGaussian(jnp.array(mean), jnp.full((1, 2), scale, jnp.float32))
    action, log_prob = distribution.sample(jax.random.PRNGKey(seed))
    assume(np.abs(action).max() <= 0.999)  # the inverse loses its digits beyond
    x = np.arctanh(np.asarray(action, np.float64))
    slope = (np.tanh(x + 1e-5) - np.tanh(x - 1e-5)) / 2e-5
    normal = np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    expected = np.sum(np.log(normal / slope), axis=-1)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-3, atol=2e-3)


def test_log_probability_is_finite_where_tanh_saturates():
    distribution = TanhGaussian(jnp.full((1, 1), 40.0), jnp.full((1, 1), 1e-3))
    action, log_prob = distribution.sample(jax.random.PRNGKey(0))
    assert float(action[0, 0]) == 1.0
    assert np.isfinite(log_prob).all()


def test_deviation_is_a_softplus_with_a_floor():
    distribution = TanhGaussian.from_network(jnp.array([[0.5, 0.0], [0.5, -100.0]]))
    np.testing.assert_allclose(distribution.std[:, 0], [np.log(2) + 1e-3, 1e-3], rtol=1e-6)
    np.testing.assert_allclose(distribution.mode()[:, 0], np.tanh([0.5, 0.5]), rtol=1e-6)


def test_deviation_has_the_gradient_of_a_softplus():
    raw = jnp.array([-100.0, -1.0, 0.0, 1.0, 100.0])
    deviation = lambda x: TanhGaussian.from_network(jnp.array([0.0, x])).std[0]  # noqa: E731
    gradient = jax.vmap(jax.grad(deviation))(raw)
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-np.asarray(raw, np.float64))), atol=1e-6)


def test_critics_are_independent_separate_networks():
    critic = make_experiment().networks.critic
    x, a = jnp.ones((5, 2)), jnp.ones((5, 1))
    params = critic.init(jax.random.PRNGKey(3), x, a)
    q = critic.apply(params, x, a)
    assert q.shape == (5, 2)
    assert not np.allclose(q[:, 0], q[:, 1])
    layers = jax.tree.leaves(params)
    for i in range(2):  # by hand: relu(z W0 + b0) W1' + b1, leaves in the order b1, W1, b0, W0
        b1, w1, b0, w0 = (np.asarray(leaf[i]) for leaf in layers)
        hidden = np.maximum(np.ones((5, 3)) @ w0 + b0, 0)
        np.testing.assert_allclose(q[:, i], (hidden @ w1.T + b1)[:, 0], rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_join_has_the_gradient_of_a_concatenation(batch):
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    parts = jax.random.normal(keys[0], (*batch, 3)), jax.random.normal(keys[1], (*batch, 2))
    weight = jax.random.normal(keys[3], (*batch, 4))
    layer = networks.Join(4)
    params = layer.init(keys[2], *parts)

    def joined(params, parts):
        return jnp.sum(weight * layer.apply(params, *parts))

    def concatenated(params, parts):
        kernel, bias = (params["params"][name] for name in ("kernel", "bias"))
        x = jnp.concatenate(parts, -1) @ kernel
        return jnp.sum(weight * (x + bias.reshape((1,) * (x.ndim - 1) + (-1,))))

    ours = jax.grad(joined, (0, 1))(params, parts)
    theirs = jax.grad(concatenated, (0, 1))(params, parts)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_all_layers_start_as_lecun_uniform():
    # Uniform within sqrt(3 / inputs), whichever way round the kernel is kept.
    params = networks.MLP((300,), 200).init(jax.random.PRNGKey(0), jnp.ones((1, 400)))["params"]
    for layer, inputs in (("Join_0", 400), ("Head_0", 300)):
        kernel, bound = np.asarray(params[layer]["kernel"]), (3 / inputs) ** 0.5
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.02)
