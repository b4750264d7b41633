"""The policy distribution, the normalizer and the metrics against NumPy and arithmetic done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mjx_sac.distributions import TanhGaussian

from mjx_sac.training.compiled import metrics, normalizer


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 1.5))
def test_log_probability_agrees_with_a_numerical_jacobian(seed, scale):
    """Log pi(a) = log N(x) - log |da/dx|, with the slope of x -> a taken by central differences in float64."""
    mean = np.array([[0.3, -0.7]], np.float32)
    distribution = TanhGaussian(jnp.array(mean), jnp.full((1, 2), scale, jnp.float32))
    action, log_prob = distribution.sample(jax.random.PRNGKey(seed))
    x = np.arctanh(np.clip(np.asarray(action, np.float64), -0.9999, 0.9999))
    if np.abs(action).max() > 0.999:
        return  # the inverse loses its digits there
    slope = (np.tanh(x + 1e-5) - np.tanh(x - 1e-5)) / 2e-5
    normal = np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(
        log_prob, np.sum(np.log(normal / slope), axis=-1), rtol=2e-3, atol=2e-3
    )


def test_log_probability_stays_finite_where_tanh_saturates():
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
    gradient = jax.vmap(jax.grad(lambda x: TanhGaussian.from_network(jnp.array([0.0, x])).std[0]))(
        raw
    )
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-np.asarray(raw, np.float64))), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 3.0, -100.0]),
    seed=st.integers(0, 1000),
)
def test_normalizer_agrees_with_statistics_of_all_rows(sizes, offset, seed):
    rng = np.random.default_rng(seed)
    state, seen = normalizer.init(3), []
    for size in sizes:
        batch = (offset + rng.normal(size=(7, 3)) * [1.0, 5.0, 0.1]).astype(np.float32)
        batch[size:] = np.nan  # rows that must not count, whatever they hold
        state = normalizer.update(state, jnp.array(batch), jnp.arange(7) < size)
        seen.append(batch[:size])
    rows = np.concatenate(seen).astype(np.float64)
    np.testing.assert_allclose(state.mean, rows.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state.var, rows.var(axis=0), rtol=2e-3, atol=1e-3)
    assert float(state.count) == len(rows)


def test_normalizer_before_any_update_and_without_valid_rows_is_the_identity_up_to_clipping():
    state = normalizer.update(normalizer.init(2), jnp.full((4, 2), jnp.nan), jnp.zeros(4, bool))
    np.testing.assert_allclose(
        normalizer.normalize(state, jnp.array([[3.0, -20.0]])), [[3.0, -10.0]]
    )


def test_normalizer_survives_more_rows_than_a_float_can_count():
    # Two rows beside 2^30 of them: the weight is 2^-29, and 2^29 * 2^-29 = 1 is what the mean moves by.
    state = normalizer.NormalizerState(jnp.float32(2.0**30), jnp.zeros(1), jnp.ones(1))
    state = normalizer.update(state, jnp.full((2, 1), 2.0**29), jnp.ones(2, bool))
    np.testing.assert_allclose(state.mean, [1.0], rtol=1e-6)
    assert np.isfinite(state.var).all()


def test_an_epoch_of_metrics_becomes_means_minima_and_maxima_of_what_was_measured():
    history = {
        "loss": jnp.array([1.0, 3.0, 99.0]),
        "q_min": jnp.array([1.0, -2.0, -99.0]),
        "q_max": jnp.array([1.0, 5.0, 99.0]),
    }
    packed = [metrics.pack({tag: values[i] for tag, values in history.items()}) for i in range(3)]
    reduced = metrics.reduce(
        jax.tree.map(lambda *x: jnp.stack(x), *packed), jnp.array([True, True, False])
    )
    assert {tag: float(value) for tag, value in metrics.unpack(reduced).items()} == {
        "loss": 2.0,
        "q_min": -2.0,
        "q_max": 5.0,
    }


def test_arrays_become_statistics_of_each_gradient_step_before_these_are_reduced():
    # Two gradient steps: over 1, 2, 3, 4 and over 5, 5, 5, 5. Means 2.5 and 5, deviations sqrt(1.25) and 0.
    q = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]])
    packed = [metrics.pack({"loss": jnp.float32(i), "q": q[i]}) for i in range(2)]
    found = metrics.unpack(
        metrics.reduce(metrics.summarise(jax.tree.map(lambda *x: jnp.stack(x), *packed)))
    )
    expected = {"loss": 0.5, "q_mean": 3.75, "q_std": 1.25**0.5 / 2, "q_min": 1.0, "q_max": 5.0}
    assert {tag: float(value) for tag, value in found.items()} == pytest.approx(expected, rel=1e-6)


def test_describe_sees_a_small_deviation_of_large_values():
    # The squares of 10,000 and 10,001 differ by less than a float32 of their size resolves to; the deviation is a half.
    values = metrics.describe("q", 10_000.0 + jnp.tile(jnp.array([0.0, 1.0]), (1, 128)))
    np.testing.assert_allclose(
        [values["q_mean"][0], values["q_std"][0]], [10_000.5, 0.5], rtol=1e-6
    )
