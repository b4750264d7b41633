"""The settings of a sweep and what came of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.sweep import job as jobs
from mjx_sac.sweep.search import Settings


class Trial(NamedTuple):
    """A setting and what came of it.

    Attributes:
      number: from 0, in the order of the waves.
      settings: its hyperparameters.
      state: waiting, whole, pruned or failed.
      iterations: after which it was last judged.
      scores: then, of each seed.
      curves: of each seed.
      run: the directory of the last job that trained it.
    """

    number: int
    settings: Settings
    state: str = "waiting"
    iterations: int = 0
    scores: tuple[float, ...] = ()
    curves: tuple[Sequence[tuple[int, float]], ...] = ()
    run: str = ""

    @property
    def score(self) -> float:
        """The mean over seeds: NaN where one of them failed."""
        return float(np.mean(self.scores)) if self.scores else math.nan


def score_at(trial: Trial, iterations: int) -> float:
    """Of a trial that may have gone on since."""
    if trial.state == "failed" or trial.iterations < iterations:
        return math.nan
    return float(
        np.mean(
            [
                jobs.score([p for p in curve if p[0] <= iterations], iterations, iterations)
                for curve in trial.curves
            ]
        )
    )


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The best first; whoever was stopped comes after whoever was not, and who failed last."""

    def key(trial: Trial) -> tuple[bool, int, float]:
        failed = not math.isfinite(trial.score)
        return failed, -trial.iterations, 0.0 if failed else -trial.score

    return sorted(trials, key=key)


def row(trial: Trial) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    finite = [score if math.isfinite(score) else None for score in (trial.score, *trial.scores)]
    spread = (
        {"low": min(trial.scores), "high": max(trial.scores)}
        if trial.scores and finite[0] is not None
        else {}
    )
    return {
        "trial": trial.number,
        "settings": trial.settings,
        "state": trial.state,
        "iterations": trial.iterations,
        "score": finite[0],
        "low": spread.get("low"),
        "high": spread.get("high"),
        "scores": finite[1:],
        "run": trial.run,
    }
