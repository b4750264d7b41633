"""How the metrics of many gradient steps become one of each per epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_sac.training.compiled import metrics


def stacked(*steps):
    """Metrics of several gradient steps, packed as a scan stacks them."""
    return jax.tree.map(lambda *x: jnp.stack(x), *map(metrics.pack, steps))


def test_scalars_become_means_minima_and_maxima():
    loss, low, high = [1.0, 3.0, 99.0], [1.0, -2.0, -99.0], [1.0, 5.0, 99.0]
    steps = [
        {"loss": jnp.float32(a), "q_min": jnp.float32(b), "q_max": jnp.float32(c)}
        for a, b, c in zip(loss, low, high, strict=True)
    ]
    measured = jnp.array([True, True, False])
    reduced = metrics.unpack(metrics.reduce_over_time(stacked(*steps), measured))
    expected = {"loss": 2.0, "q_min": -2.0, "q_max": 5.0}
    assert {tag: float(value) for tag, value in reduced.items()} == expected


def test_losses_need_not_measure_anything():
    reduced = metrics.reduce_over_time(metrics.summarize_rows(stacked({}, {})))
    assert metrics.unpack(reduced) == {}


def test_rows_become_statistics_of_each_gradient_step_first():
    # Over 1, 2, 3, 4 and over 5, 5, 5, 5: means 2.5 and 5, deviations sqrt(1.25) and 0.
    q = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]])
    packed = stacked(*({"loss": jnp.float32(i), "q": q[i]} for i in range(2)))
    found = metrics.unpack(metrics.reduce_over_time(metrics.summarize_rows(packed)))
    expected = {"loss": 0.5, "q_mean": 3.75, "q_std": 1.25**0.5 / 2, "q_min": 1.0, "q_max": 5.0}
    assert {tag: float(value) for tag, value in found.items()} == pytest.approx(expected, rel=1e-6)


def test_describe_sees_a_small_deviation_of_large_values():
    # The squares of 10,000 and 10,001 differ by less than a float32 of their size resolves to.
    values = metrics.describe("q", 10_000.0 + jnp.tile(jnp.array([0.0, 1.0]), (1, 128)))
    found = [values["q_mean"][0], values["q_std"][0]]
    np.testing.assert_allclose(found, [10_000.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("kind", [jnp.int32, jnp.bool_, jnp.bfloat16])
def test_every_real_type_is_measured_as_a_float(kind):
    rows = jnp.array([0, 1, 1, 1], kind)
    packed = stacked({"one": rows[1], "rows": rows})
    found = metrics.unpack(metrics.reduce_over_time(metrics.summarize_rows(packed)))
    assert {x.dtype for x in found.values()} == {jnp.dtype(jnp.float32)}
    assert (found["one"], found["rows_mean"], found["rows_min"]) == (1.0, 0.75, 0.0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rollout/episodes": jnp.float32(1)}, "'rollout/episodes': such names are the trainer's"),
        ({"train/n_updates": jnp.float32(1)}, "train/n_updates"),
        ({3: jnp.float32(1)}, "metric 3"),
        ({"q": jnp.zeros(4), "q_max": jnp.float32(1)}, "'q_max': array 'q' is logged as that too"),
        ({"q": jnp.zeros((4, 0))}, "'q' is float32[4, 0]: make it a real scalar"),
        ({"q": jnp.zeros(3)}, "the batch's 4 rows"),
        ({"histogram/q": jnp.float32(1)}, "is float32[]: make it an array with the batch's 4 rows"),
        ({"q": jnp.complex64(1)}, "'q' is complex64[]"),
        ({"q": jax.random.key(0)}, "'q' is key<"),
        ({"q": [1.0, 2.0]}, "'q' is list[]"),
    ],
)
def test_a_metric_that_cannot_be_logged_is_named(wrong, words):
    fine = {"penalty": jnp.float32(1), "train/rows": jnp.zeros((4, 2, 3)), "low_min": jnp.int32(1)}
    assert metrics.problem(fine, 4) is None
    assert words in str(metrics.problem({**fine, **wrong}, 4))
