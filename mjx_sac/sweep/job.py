"""One program of a sweep: several settings side by side, trained up to some iterations; in this process or in a worker's."""

import math
import os
import pathlib
import shutil
import time
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import Config, NonFiniteError, UsageError, nearest
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import ITEMS, steps

Curve = list[tuple[int, float]]


class Job(NamedTuple):
    """What is trained in one program.

    Attributes:
      name: of its directory, unique in the sweep.
      trials: numbers of the settings, in the order of `config.members`.
      config: trains all of them, up to `config.iterations`.
      parent: the run whose agents `kept` (their places there) go on here; None where training begins.
      kept: see `parent`.
      start: iterations that were trained before.
      on_host: the environment is on the host, where there are no populations: agents are trained one after another.
    """

    name: str
    trials: tuple[int, ...]
    config: Config
    parent: str | None = None
    kept: tuple[int, ...] = ()
    start: int = 0
    on_host: bool = False


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
      curves: of every agent, those of the first setting first: iterations and values of the metric.
      scores: of every agent: the mean over the last quarter; NaN where it stopped being finite.
      began: seconds since 1970.
      seconds: it took.
      process: that it ran in, on which machine.
      error: why it ended early.
    """

    curves: list[Curve]
    scores: list[float]
    began: float
    seconds: float
    process: str
    error: str | None = None


def run(job: Job, metric: str, losses: Any = None) -> Outcome:
    """Trains, going on where the job was interrupted.

    Raises:
      UsageError: it cannot be trained, or `metric` is none of its curves.
      TrainingError: training failed for another reason than numbers that stopped being finite; it can go on.
    """
    from mjx_sac.training.host import train

    began, error = time.time(), None
    if job.parent:
        graft(pathlib.Path(job.parent), job.config, job.kept)
    for config in alone(job.config) if job.on_host else (job.config,):
        try:
            train.train(config, losses=None if config.losses else losses)
        except NonFiniteError as problem:
            error = str(problem)
    curves, scores = measure(job.config, metric)
    return Outcome(
        curves, scores, began, time.time() - began, f"{os.uname().nodename}:{os.getpid()}", error
    )


def alone(config: Config) -> list[Config]:
    """A run for every agent, each where a population would have its curves."""
    names = config.agent_names() or ("",)
    return [
        agent.model_copy(update={"logdir": str(pathlib.Path(config.run_dir) / name)})
        for name, agent in zip(names, config.population(), strict=True)
    ]


def measure(config: Config, metric: str) -> tuple[list[Curve], list[float]]:
    """Curve and score of every agent, from its event files.

    Raises:
      UsageError: no agent has that metric.
    """
    from mjx_sac.runs import event_files

    directory = pathlib.Path(config.run_dir)
    found = [event_files.read(directory / name) for name in config.agent_names() or ("",)]
    known = sorted({tag for curves in found for tag in curves})
    if known and metric not in known:
        raise UsageError(
            f"metric = {metric!r}: no run has it{nearest(metric, known) or '; there are ' + ', '.join(known)}"
        )
    curves = [sorted(one.get(metric, {}).items()) for one in found]
    logged = [max((x for curve in one.values() for x in curve), default=0) for one in found]
    return curves, [
        score(curve, last, config.iterations) for curve, last in zip(curves, logged, strict=True)
    ]


def score(curve: Curve, logged: int, iterations: int) -> float:
    """The mean of the last quarter, less at the mercy of one evaluation than the last value; NaN where logging ended early."""
    late = [y for x, y in curve if x > 0.75 * iterations] or [y for _, y in curve[-1:]]
    return float(np.mean(late)) if late and logged >= iterations else math.nan


def graft(parent: pathlib.Path, config: Config, kept: tuple[int, ...]) -> None:
    """The checkpoint from which some agents of the run in `parent` go on as `config` says, without the others.

    It is made of the arrays on disk: all but the counter that agents share have an axis of agents first.
    """
    directory = pathlib.Path(config.run_dir) / "checkpoints"
    if steps(directory.parent):
        return  # it has been going on already
    iterations = steps(parent)[-1]
    temporary = directory / "grafting"
    shutil.rmtree(temporary, ignore_errors=True)
    for item in ITEMS:
        source = parent / "checkpoints" / str(iterations) / item
        (temporary / item).mkdir(parents=True)
        header = {
            name: value
            for name, value in array_store.manifest(source).items()
            if name not in ("schema", "leaves", "packed")
        }
        header["returns"] = [header["returns"][i] for i in kept] if header.get("returns") else None
        arrays = {
            name: np.ascontiguousarray(x[list(kept)]) if x.ndim else x
            for name, x in array_store.read(source)
        }
        array_store.write(
            temporary / item, arrays, {**header, "config": config.model_dump(mode="json")}, None
        )
    temporary.replace(directory / str(iterations))


def to_json(outcome: Outcome) -> dict[str, Any]:
    """For the sweep's file: JSON has no NaN."""
    return {
        **outcome._asdict(),
        "scores": [value if math.isfinite(value) else None for value in outcome.scores],
    }


def from_json(stored: dict[str, Any]) -> Outcome:
    """What `to_json` was given, and whatever was added."""
    scores = [math.nan if value is None else value for value in stored["scores"]]
    return Outcome(
        **{name: stored[name] for name in Outcome._fields if name != "scores"}, scores=scores
    )
