"""What a sample of episodes says, and how sure that is. NumPy alone.

References:
  Agarwal et al., 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, arXiv:2108.13264.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half, along the last axis: less at the mercy of outliers than the mean, of ties than the median."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap(
    values: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the interquartile mean of `values[n]`."""
    index = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(interquartile_mean(values[index]), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def describe(episodes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of what `evaluate_policy` returns: statistics of return and length, and how the episodes ended; for JSON."""
    returns, lengths = (np.asarray(episodes[name], np.float64) for name in ("return", "length"))
    return {
        "episodes": len(returns),
        "return": _robust(returns),
        "length": _moments(lengths),
        **{name: float(np.mean(episodes[name])) for name in ("terminated", "truncated")},
        "returns": returns.tolist(),
    }


def across(agents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of what `describe` says of several agents: statistics of their mean returns, each agent counting once."""
    return {"return": _robust(np.array([agent["return"]["mean"] for agent in agents.values()]))}


def _robust(values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap(values)
    return {
        **_moments(values),
        "iqm": float(interquartile_mean(values)),
        "iqm_low": low,
        "iqm_high": high,
    }


def _moments(values: np.ndarray) -> dict[str, float]:
    return {
        name: float(getattr(np, name)(values)) for name in ("mean", "std", "median", "min", "max")
    }
