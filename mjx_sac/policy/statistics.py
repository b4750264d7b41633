"""Statistics of a sample of episodes, with confidence intervals, for JSON.

References:
  Agarwal et al., 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice,
  arXiv:2108.13264.
"""

# pyright: basic
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

interquartile_mean = partial(stats.trim_mean, proportiontocut=0.25)
"""The mean of the middle half: outliers move it less than the mean, ties less than the median."""


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the interquartile mean of `values[n]`."""
    if len(values) == 1:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), interquartile_mean, n_resamples=2000, method="percentile", rng=seed
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def describe(episodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return statistics of what `evaluate_policy` returned."""
    returns, lengths = (np.asarray(episodes[name], np.float64) for name in ("return", "length"))
    reported = {k: x[np.isfinite(x)] for k, x in episodes.get("reported", {}).items()}
    return {
        "episodes": len(returns),
        "return": _robust(returns),
        "length": _moments(lengths),
        **{name: float(np.mean(episodes[name])) for name in ("terminated", "truncated")},
        "reported": {name: float(np.mean(x)) for name, x in reported.items() if len(x)},
        "returns": returns.tolist(),
    }


def across(agents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return statistics of the mean returns of agents that `describe` described."""
    return {"return": _robust(np.array([agent["return"]["mean"] for agent in agents.values()]))}


def _robust(values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap(values)
    iqm = float(interquartile_mean(values))
    return {**_moments(values), "iqm": iqm, "iqm_low": low, "iqm_high": high}


def _moments(values: np.ndarray) -> dict[str, float]:
    names = ("mean", "std", "median", "min", "max")
    return {name: float(getattr(np, name)(values)) for name in names}
