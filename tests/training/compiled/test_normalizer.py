"""The running statistics of observations."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.training.compiled import normalizer


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 3.0, -100.0]),
    seed=st.integers(0, 1000),
)
def test_updates_agree_with_statistics_of_all_rows(sizes, offset, seed):
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


def test_without_valid_rows_it_is_the_clipped_identity():
    state = normalizer.update(normalizer.init(2), jnp.full((4, 2), jnp.nan), jnp.zeros(4, bool))
    normalized = normalizer.normalize(state, jnp.array([[3.0, -20.0]]))
    np.testing.assert_allclose(normalized, [[3.0, -10.0]])


def test_more_rows_than_a_float_can_count():
    # Two rows beside 2^30: the weight is 2^-29, and the mean moves by 2^29 * 2^-29 = 1.
    state = normalizer.NormalizerState(jnp.float32(2.0**30), jnp.zeros(1), jnp.ones(1))
    state = normalizer.update(state, jnp.full((2, 1), 2.0**29), jnp.ones(2, bool))
    np.testing.assert_allclose(state.mean, [1.0], rtol=1e-6)
    assert np.isfinite(state.var).all()
