"""Statistics of samples, by hand."""

import numpy as np
import pytest

from mjx_sac.policy import statistics

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9, 1, 100, 3, 2], (2 + 3 + 9) / 3),  # a quarter of 5 is 1
        ([7, 6, 5, 4, 3, 2, 1, 0], (2 + 3 + 4 + 5) / 4),
        ([1, 2, 6], 3),
        ([5], 5),
    ],
)
def test_iqm_leaves_out_a_quarter_on_either_side(values, expected):
    assert statistics.interquartile_mean(np.array(values, float)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # A resample has the mean 0, 1/2 or 1, with probability 1/4, 1/2 and 1/4.
        ([0, 1], (0, 1)),
        # With k ones of 8 the middle four have the mean 0 for k <= 2, 1/4 for 3, 1/2 for 4.
        # Binomial(8, 1/8): P(k >= 3) = 0.067 and P(k >= 4) = 0.011, beside 0.025 left out.
        ([0] * 7 + [1], (0, 0.25)),
        ([7] * 10, (7, 7)),
        ([3], (3, 3)),
    ],
)
def test_interval_holds_95_percent_of_resampled_iqms(values, expected):
    assert statistics.bootstrap(np.array(values, float)) == expected


def test_interval_is_the_same_in_every_run():
    values = np.random.default_rng(0).normal(size=50)
    assert statistics.bootstrap(values) == statistics.bootstrap(values)
    assert statistics.bootstrap(values, seed=1) != statistics.bootstrap(values)


EPISODES = {
    "return": np.array([0.0, 1.0, 2.0, 7.0]),
    "length": np.array([5, 5, 5, 1]),
    "terminated": np.array([0, 0, 0, 1]),
    "truncated": np.array([1, 1, 1, 0]),
}


def test_episodes_are_described():
    described = statistics.describe(EPISODES)
    low, high = statistics.bootstrap(EPISODES["return"])
    assert described["return"] == {
        "mean": 2.5,
        "std": pytest.approx(np.sqrt((2.5**2 + 1.5**2 + 0.5**2 + 4.5**2) / 4)),
        "median": 1.5,
        "min": 0,
        "max": 7,
        "iqm": 1.5,
        "iqm_low": low,
        "iqm_high": high,
    }
    assert (described["episodes"], described["returns"]) == (4, [0, 1, 2, 7])
    assert (described["terminated"], described["truncated"]) == (0.25, 0.75)
    assert (described["length"]["mean"], "iqm" in described["length"]) == (4, False)


def test_what_was_reported_is_a_mean_over_episodes_that_did():
    reported = {"is_success": np.array([1.0, 0, 0, 0]), "speed": np.array([np.nan, 1, 3, np.nan])}
    reported["never"] = np.full(4, np.nan)
    described = statistics.describe({**EPISODES, "reported": reported})
    assert described["reported"] == {"is_success": 0.25, "speed": 2.0}


def test_each_agent_counts_once():
    """The means are 2.5 and 4.5, though one played four episodes and the other two."""
    other = {name: values[2:] for name, values in EPISODES.items()}
    agents = {"seed_0": statistics.describe(EPISODES), "seed_1": statistics.describe(other)}
    across = statistics.across(agents)["return"]
    assert (across["mean"], across["min"], across["max"]) == (3.5, 2.5, 4.5)
