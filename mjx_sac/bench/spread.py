"""Repeated timings as one figure with its spread."""

import statistics

Spread = dict[str, float]


def spread(values: list[float]) -> Spread:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(ours: list[float], theirs: list[float]) -> Spread:
    """Return the `spread` of ours / theirs, turn by turn."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])
