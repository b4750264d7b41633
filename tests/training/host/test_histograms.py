"""Histograms that a loss names: from its rows to event files and trackers."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.runs import make_config, scalars
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.losses import Losses, critic_loss
from mjx_sac.training.compiled import metrics
from mjx_sac.training.host import train
from mjx_sac.training.host.monitor import with_histograms


def percentiles(values):
    """As an epoch of one gradient step has them."""
    found = metrics.percentiles("histogram/x", jnp.asarray(values, jnp.float32)[None])
    return {tag: float(x[0]) for tag, x in found.items()}


def histogram(values):
    return with_histograms(percentiles(values))["histogram/x"]


def test_a_histogram_by_hand():
    """0 to 100 are their own percentiles; 20 bins, each with a twentieth."""
    known = percentiles(np.arange(101)[::-1])
    assert [*known][:2] == ["histogram/x@000", "histogram/x@005"]
    assert known["histogram/x@050"] == 50
    shares, edges = histogram(np.arange(101))
    np.testing.assert_allclose(shares, [0.05] * 20, atol=1e-6)
    np.testing.assert_allclose(edges, np.arange(0, 101, 5), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [([-1] * 50 + [1] * 50, 0.5, 0.5), ([0] * 80 + [1] * 20, 0.8, 0.2), ([3] * 7, None, None)],
)
def test_many_equal_values_are_in_their_bin(values, first, last):
    """Such as actions at a bound; up to 5 %, the distance of percentiles."""
    shares, edges = histogram(values)
    assert sum(shares) == pytest.approx(1)
    assert (edges[0], edges[-1]) == (min(values), max(values))
    if first is not None:
        assert (shares[0], shares[-1]) == pytest.approx((first, last), abs=0.051)


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=300))
def test_shares_below_an_edge_are_those_of_the_values(values):
    """Within the two neighbouring percentiles."""
    shares, edges = histogram(values)
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    assert min(shares) >= -1e-6
    known = [*percentiles(values).values()]
    for below, edge in zip(np.cumsum(shares), edges[1:-1], strict=False):
        under, above = (np.mean(compare(known, edge)) for compare in (np.less, np.less_equal))
        assert under - 2 / 21 <= below <= above + 2 / 21


def test_other_metrics_stay_as_they_are():
    plain = {"train/critic_loss": 1.0, "histogram_of_mine": 2.0}
    assert with_histograms(plain) == plain


def test_a_loss_names_a_histogram(tmp_path):
    """Rows 0 to 7, the same in each gradient step: percentile p is 7 p / 100."""

    def loss(params, state, batch, key, **static):
        value, measured = critic_loss(params, state, batch, key, **static)
        rows = jnp.arange(8.0)
        return value, {**measured, "histogram/rows": rows, "histogram/action": batch.action}

    config = make_config(logdir=str(tmp_path))
    result = train.train(config, losses=Losses(critic=loss))
    assert result.metrics["histogram/rows@050"] == 3.5
    events = EventAccumulator(str(tmp_path), {"histograms": 0}).Reload()
    assert sorted(events.Tags()["histograms"]) == ["histogram/action", "histogram/rows"]
    found = events.Histograms("histogram/rows")
    assert [event.step for event in found] == [64, 96, 128]  # the first epoch only warms up
    for event in found:
        value = event.histogram_value
        assert (value.min, value.max, value.num) == (0, 7, pytest.approx(1))
        np.testing.assert_allclose(value.bucket, [0.05] * 20, atol=1e-6)
        np.testing.assert_allclose(value.bucket_limit, np.linspace(0, 7, 21)[1:], atol=1e-5)
    action = events.Histograms("histogram/action")[-1].histogram_value
    assert -1 <= action.min < action.max <= 1
    assert not [tag for tag in scalars(tmp_path) if tag.startswith("histogram/")]
