"""One program of a sweep: settings trained side by side, up to some iterations."""

import itertools
import math
import pathlib
import shutil
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.algorithms import loader
from mjx_sac.config import Config, NonFiniteError, UsageError, nearest
from mjx_sac.runs import array_store, event_files
from mjx_sac.runs.directory import ITEMS, checkpoint_path, steps
from mjx_sac.sweep import space


class Job(NamedTuple):
    """What one program trains.

    Attributes:
      trials: numbers of the settings, in the order of `config.members`.
      rung: how often its settings have been judged before.
      parent: the run to fork, if any, of whose agents those at the places `kept` continue here.
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
        best = sorted((n for n in self.trials if n in scores), key=lambda n: -scores[n])[:size]
        job = self._replace(rung=self.rung + 1, parent=None, kept=())
        changed: dict[str, Any] = {"iterations": until}
        if len(best) < len(self.trials):
            places = [place for place, number in enumerate(self.trials) if number in best]
            parent, seeds = pathlib.Path(self.config.run_dir), range(self.config.num_seeds)
            kept = tuple(place * len(seeds) + seed for place in places for seed in seeds)
            trials = tuple(self.trials[place] for place in places)
            job = job._replace(trials=trials, parent=str(parent), kept=kept)
            changed["logdir"] = str(parent.with_name(f"{job.name},rung_{job.rung}"))
            changed["members"] = tuple(self.config.members[place] for place in places)
        return job._replace(config=space.apply(self.config, changed))


class Outcome(NamedTuple):
    """Scores per agent, all seeds of the first setting first; seconds; why it ended early."""

    scores: list[float]
    seconds: float
    error: str | None = None


def run(job: Job, metric: str, losses: Any = None) -> Outcome:
    """Train, resuming where the job was interrupted.

    Every error but non-finite numbers is raised: it ends the sweep, which can be resumed.
    """
    from mjx_sac.training.host import train

    began, error = time.perf_counter(), None
    if job.parent:
        fork_checkpoint(pathlib.Path(job.parent), job.config, job.kept)
    for config in single_runs(job.config) if job.on_host else [job.config]:
        try:
            train.train(config, losses=losses if config.algorithm == "sac" else None)
        except NonFiniteError as problem:
            error = str(problem)
    return Outcome(measure(job.config, metric), time.perf_counter() - began, error)


def check_metric(config: Config, metric: str, losses: Any = None) -> None:
    """Raise UsageError where no run would log `metric`, before any is trained.

    The losses' own are found by tracing them for small observations and actions; where that fails
    the runs say what is wrong.
    """
    names = itertools.product(("mean", "std", "min", "max"), ("reward", "ep_length"))
    known = [f"eval/{statistic}_{name}" for statistic, name in names]
    known.append("train/n_updates")
    if not config.offline:
        known += ["rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/episodes"]
    if metric in known or metric.startswith(("time/", "checkpoint/", "health/", "replay/")):
        return
    from mjx_sac.training.compiled.metrics import RESERVED
    from mjx_sac.training.host import compile

    if not metric.startswith(RESERVED):
        algorithm = loader.load(config)
        try:
            networks = algorithm.networks(config, 2)
            algorithm = algorithm._replace(losses=losses or algorithm.losses)
            traced, _ = compile.trace_update((3, 2), algorithm, networks=networks, config=config)
        except Exception:
            return
        for tag, value in traced.items():
            ends = ("_mean", "_std", "_min", "_max") if value.shape else ("",)
            known += [tag + end for end in ends]
    _check_known(metric, known)


def _check_known(metric: str, known: list[str]) -> None:
    if metric not in known:
        hint = nearest(metric, known) or f"; there are {', '.join(known)}"
        raise UsageError(f"metric = {metric!r}: no run has it{hint}")


def single_runs(config: Config) -> list[Config]:
    """Return a run for each agent, which logs where a population would have that agent's curves."""
    names = config.agent_names() or ("",)
    return [
        agent.model_copy(update={"logdir": str(pathlib.Path(config.run_dir) / name)})
        for name, agent in zip(names, config.population(), strict=True)
    ]


def measure(config: Config, metric: str) -> list[float]:
    """Return each agent's score, from its event files; raise UsageError where none has `metric`."""
    directory = pathlib.Path(config.run_dir)
    found = [event_files.read(directory / name) for name in config.agent_names() or ("",)]
    if known := sorted({tag for curves in found for tag in curves}):
        _check_known(metric, known)
    logged = [max((x for curve in curves.values() for x in curve), default=0) for curves in found]
    return [
        score(curves.get(metric, {}), last, config.iterations)
        for curves, last in zip(found, logged, strict=True)
    ]


def score(curve: Mapping[int, float], logged: int, iterations: int) -> float:
    """Return the mean of the last quarter of a curve: it does not hang on one evaluation.

    An agent for which nothing was `logged` as late as at `iterations` became non-finite: NaN.
    """
    last = max(curve, default=0)
    late = [y for x, y in curve.items() if x > 0.75 * iterations or x == last]
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
        header = array_store.manifest(source)
        del header["schema"]  # `write` adds its own
        for name in ("returns", "updates"):  # each agent's
            if header.get(name):
                header[name] = [header[name][i] for i in kept]
        header["config"] = config.model_dump(mode="json")
        arrays = {
            name: np.ascontiguousarray(x[list(kept)]) if x.ndim else x
            for name, x in array_store.read(source)
        }
        array_store.write(temporary / item, arrays, header, None)
    temporary.replace(checkpoint_path(directory, iterations))
