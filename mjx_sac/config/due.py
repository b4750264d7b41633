"""When evaluations and checkpoints are due, and when a run is over."""

import math
from collections.abc import Iterable

from mjx_sac.config.schema import Config


def evaluates(config: Config, before: int, now: int) -> bool:
    """Return whether an evaluation is due after the epoch from `before` to `now` iterations."""
    interval = config.eval_interval or max(config.epoch_iterations, config.iterations // 20)
    return now // interval > before // interval or now >= config.iterations


def saves(config: Config, saved: int, now: int) -> bool:
    """Return whether a checkpoint is due at `now` iterations, the last one being at `saved`."""
    interval = config.checkpoint_interval or config.auto_interval
    return now // interval > saved // interval


def reached(config: Config, returns: Iterable[float | None]) -> bool:
    """Return whether `stop_at` is by all mean returns of agents: None or NaN is of a lost one."""
    known = [float(x) for x in returns if x is not None and math.isfinite(x)]
    return config.stop_at is not None and bool(known) and min(known) >= config.stop_at
