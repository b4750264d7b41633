"""Sums over episodes, against SciPy's."""

import numpy as np
import pytest
import scipy.stats

from mjx_sac.policy import statistics

pytestmark = pytest.mark.smoke


def test_the_interquartile_mean_leaves_out_a_quarter_on_either_side():
    assert (
        statistics.interquartile_mean(np.array([9.0, 1.0, 100.0, 3.0, 2.0])) == (2 + 3 + 9) / 3
    ), "a quarter of 5 is 1"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 99])
def test_the_interquartile_mean_is_scipys_trimmed_mean(n):
    values = np.random.default_rng(n).exponential(size=(3, n))
    expected = scipy.stats.trim_mean(values, 0.25, axis=-1)
    np.testing.assert_allclose(statistics.interquartile_mean(values), expected, rtol=1e-12)


def test_the_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).exponential(scale=100, size=60)
    theirs = scipy.stats.bootstrap(
        (values,),
        lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        random_state=1,
    ).confidence_interval
    low, high = statistics.bootstrap(values)
    # Both are random: of 2,000 resamples the quantiles vary by some hundredths of the interval.
    np.testing.assert_allclose([low, high], theirs, atol=0.1 * (theirs.high - theirs.low))


def test_the_interval_is_the_same_in_every_run_and_a_point_where_nothing_varies():
    values = np.arange(10.0)
    assert statistics.bootstrap(values) == statistics.bootstrap(values)
    assert statistics.bootstrap(np.full(10, 7.0)) == (7.0, 7.0)


def test_what_is_told_of_episodes():
    episodes = {
        "return": [0.0, 1.0, 2.0, 7.0],
        "length": [5, 5, 5, 1],
        "terminated": [0, 0, 0, 1],
        "truncated": [1, 1, 1, 0],
    }
    told = statistics.describe({name: np.array(values) for name, values in episodes.items()})
    returns = told["return"]
    assert (told["episodes"], told["terminated"], told["truncated"]) == (4, 0.25, 0.75)
    assert (returns["mean"], returns["median"], returns["iqm"], returns["min"], returns["max"]) == (
        2.5,
        1.5,
        1.5,
        0,
        7,
    )
    assert returns["std"] == pytest.approx(np.sqrt((2.5**2 + 1.5**2 + 0.5**2 + 4.5**2) / 4))
    assert told["length"]["mean"] == 4
    assert told["returns"] == [0, 1, 2, 7]
