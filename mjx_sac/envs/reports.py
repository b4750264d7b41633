"""What an environment reports beside its reward: numbers by name, at every step.

On the device they are the `metrics` of its state, as Brax's and Playground's have them; on the
host the numbers in `info`. Over an episode, reward terms (names with "reward" in them) are summed
like the reward itself, of success the last step's value counts, and of all else the mean over the
steps. Needs no JAX.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

SUCCESS = ("is_success", "success")
"""Names under which environments say, as 0 or 1, whether the task is done."""


def names(reported: Any) -> tuple[str, ...]:
    """Return the names of the real scalars in a mapping, values or shapes, sorted."""
    if not isinstance(reported, Mapping):
        return ()
    return tuple(sorted(k for k, x in reported.items() if isinstance(k, str) and _is_scalar(x)))


def _is_scalar(x: Any) -> bool:
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return isinstance(x, int | float) or (kind in tuple("biuf") and x.shape == ())


def add(names: tuple[str, ...], sums: list[float], info: Mapping[str, Any]) -> list[float]:
    """Return `sums`, empty at first, with what `info` says: NaN where it lacks a number."""
    new = [_number(info.get(name)) for name in names]
    if not sums:
        return new
    rows = zip(names, sums, new, strict=True)
    return [x if name in SUCCESS else total + x for name, total, x in rows]


def column(infos: Mapping[str, Any], name: str, n: int) -> np.ndarray:
    """Return what a vector environment says under a name, [n], by its mask of who says it too; NaN
    where it lacks a number.
    """
    values = np.full(n, math.nan, np.float32)
    try:
        values[:] = np.asarray(infos[name], np.float32)
        return np.where(infos.get(f"_{name}", True), values, math.nan)
    except (LookupError, TypeError, ValueError):
        return values


def _number(x: Any) -> float:
    try:
        return float(x)
    except (TypeError, ValueError):
        return math.nan


def per_episode(names: tuple[str, ...], sums: Any, length: Any) -> Any:
    """Return each episode's values, [num_envs, names], of what was summed up in its steps."""
    averaged = np.array(["reward" not in name and name not in SUCCESS for name in names], int)
    return sums / (1 + averaged * (length[:, None] - 1))


def described(names: tuple[str, ...], sums: Any, length: Any) -> dict[str, dict[str, Any]]:
    """Return `per_episode` by name under "reported"; nothing where nothing is."""
    if not names:
        return {}
    return {"reported": dict(zip(names, per_episode(names, sums, length).T, strict=True))}


def tag(name: str, evaluated: bool = False) -> str:
    """Return under which tag the mean over episodes is logged."""
    if name in SUCCESS:
        return "eval/success_rate" if evaluated else "rollout/success_rate"
    return f"eval/env/{name}" if evaluated else f"env/{name}"
