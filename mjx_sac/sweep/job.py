"""One program of a sweep: settings trained side by side, up to some iterations."""

import math
import pathlib
import shutil
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import Config, NonFiniteError, UsageError, nearest
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import ITEMS, checkpoint_path, steps
from mjx_sac.sweep import space


class Job(NamedTuple):
    """What one program trains.

    Attributes:
      name: unique in its wave.
      trials: numbers of the settings, in the order of `config.members`.
      config: trains all of them, up to `config.iterations`.
      rung: how often its settings have been judged before.
      parent: the run to fork, if any, some of whose agents continue here.
      kept: places of those agents in `parent`.
      on_host: the environment is on the host, where there are no populations: one run per agent.
    """

    name: str
    trials: tuple[int, ...]
    config: Config
    rung: int = 0
    parent: str | None = None
    kept: tuple[int, ...] = ()
    on_host: bool = False

    def describe(self) -> str:
        """Return such as `all: 4 settings with 2 seeds in one program, until 1,000 iterations`."""
        settings = f"{len(self.trials)} setting{'s' * (len(self.trials) > 1)}"
        seeds = f" with {self.config.num_seeds} seeds" if self.config.num_seeds > 1 else ""
        how = "one run after another" if self.on_host else "in one program"
        return f"{self.name}: {settings}{seeds} {how}, until {self.config.iterations:,} iterations"

    def smaller(
        self, survivors: Collection[int], scores: Mapping[int, float], until: int
    ) -> "Job | None":
        """Return the job in which the survivors continue until the next rung; None without any.

        It has all of the settings, a half, a quarter, ..., so that few sizes are compiled: the next
        best fill it up. `survivors` and `scores` are by trial, of the whole wave.
        """
        wanted = len({*survivors}.intersection(self.trials))
        if not wanted:
            return None
        halves = (-(-len(self.trials) // 2**i) for i in range(len(self.trials)))
        size = min(half for half in halves if half >= wanted)
        finite = [place for place, number in enumerate(self.trials) if number in scores]
        places = sorted(sorted(finite, key=lambda place: -scores[self.trials[place]])[:size])
        rung, changed = self.rung + 1, dict[str, Any](iterations=until)
        if len(places) == len(self.trials):
            config = space.apply(self.config, changed)
            return self._replace(config=config, rung=rung, parent=None, kept=())
        parent, seeds = pathlib.Path(self.config.run_dir), self.config.num_seeds
        changed["logdir"] = str(parent.with_name(f"{self.name},rung_{rung}"))
        changed["members"] = tuple(self.config.members[place] for place in places)
        trials = tuple(self.trials[place] for place in places)
        kept = tuple(place * seeds + seed for place in places for seed in range(seeds))
        config = space.apply(self.config, changed)
        return Job(self.name, trials, config, rung, str(parent), kept)


class Outcome(NamedTuple):
    """What came of a job.

    Attributes:
      scores: per agent, see `score`, all seeds of the first setting first.
      seconds: of training.
      error: why it ended early.
    """

    scores: list[float]
    seconds: float
    error: str | None = None


def run(job: Job, metric: str, losses: Any = None) -> Outcome:
    """Train, resuming where the job was interrupted.

    Raises:
      UsageError: it cannot be trained, or no agent logs `metric`.
      TrainingError: training failed for another reason than non-finite numbers; it can be resumed.
    """
    from mjx_sac.training.host import train

    began, error = time.time(), None
    if job.parent:
        fork_checkpoint(pathlib.Path(job.parent), job.config, job.kept)
    for config in single_runs(job.config) if job.on_host else [job.config]:
        try:
            train.train(config, losses=None if config.losses else losses)
        except NonFiniteError as problem:
            error = str(problem)
    return Outcome(measure(job.config, metric), time.time() - began, error)


def single_runs(config: Config) -> list[Config]:
    """Return a run for each agent, which logs where a population would have that agent's curves."""
    names = config.agent_names() or ("",)
    return [
        agent.model_copy(update={"logdir": str(pathlib.Path(config.run_dir) / name)})
        for name, agent in zip(names, config.population(), strict=True)
    ]


def measure(config: Config, metric: str) -> list[float]:
    """Return the score of each agent, from its event files.

    Raises:
      UsageError: no agent logs that metric.
    """
    from mjx_sac.runs import event_files

    directory = pathlib.Path(config.run_dir)
    found = [event_files.read(directory / name) for name in config.agent_names() or ("",)]
    known = sorted({tag for curves in found for tag in curves})
    if known and metric not in known:
        hint = nearest(metric, known) or f"; there are {', '.join(known)}"
        raise UsageError(f"metric = {metric!r}: no run has it{hint}")
    logged = [max((x for curve in curves.values() for x in curve), default=0) for curves in found]
    return [
        score(curves.get(metric, {}), last, config.iterations)
        for curves, last in zip(found, logged, strict=True)
    ]


def score(curve: Mapping[int, float], logged: int, iterations: int) -> float:
    """Return the mean of the last quarter of a curve: it does not hang on one evaluation.

    Args:
      curve: values by iterations.
      logged: the last iterations at which anything was logged; before `iterations`, the agent
        became non-finite, and its score is NaN.
      iterations: where training should have ended.
    """
    late = [y for x, y in curve.items() if x > 0.75 * iterations]
    late = late or [curve[x] for x in sorted(curve)[-1:]]
    return float(np.mean(late)) if late and logged >= iterations else math.nan


def fork_checkpoint(parent: pathlib.Path, config: Config, kept: tuple[int, ...]) -> None:
    """Write a checkpoint from which agents of the run in `parent` continue without the others.

    Only arrays on disk are touched: all but the counters that agents share have agents as their
    first axis. Does nothing where the run of `config` has begun.
    """
    directory = pathlib.Path(config.run_dir)
    if steps(directory):
        return
    iterations = steps(parent)[-1]
    temporary = directory / "checkpoints" / "forking"
    shutil.rmtree(temporary, ignore_errors=True)
    for item in ITEMS:
        source = checkpoint_path(parent, iterations) / item
        (temporary / item).mkdir(parents=True)
        header = array_store.manifest(source)
        for own in ("schema", "leaves", "packed"):
            del header[own]
        if header.get("returns"):
            header["returns"] = [header["returns"][i] for i in kept]
        header["config"] = config.model_dump(mode="json")
        arrays = {
            name: np.ascontiguousarray(x[list(kept)]) if x.ndim else x
            for name, x in array_store.read(source)
        }
        array_store.write(temporary / item, arrays, header, None)
    temporary.replace(checkpoint_path(directory, iterations))
