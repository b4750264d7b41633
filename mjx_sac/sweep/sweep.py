"""A sweep over hyperparameters: waves of settings, trained side by side in as few compiled programs as their shapes allow.

    wave      settings that a search proposes at once; a grid is one wave
    job       those of them that differ in mere numbers: one program, one run directory; see `job.py`
    rung      iterations after which a pruner ends the worse settings of a wave; who is left goes on in a smaller program

Every wave is written down before it is trained and every job when it is finished, so a sweep that was killed is simply played
again: what is written down is taken from there, and a job that had begun goes on from its own checkpoint.
"""

import dataclasses
import json
import math
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mjx_sac.config import Config, UsageError, mark
from mjx_sac.sweep import job as jobs
from mjx_sac.sweep import search
from mjx_sac.sweep.job import Job, Outcome
from mjx_sac.sweep.search import Parameter, Settings, Told
from mjx_sac.sweep.trials import Trial, ranked, row, score_at
from mjx_sac.training.host.console import print_line

FILE = "sweep.json"
SIDE_BY_SIDE = 8
"""Settings in one program, where a search might go on for ever."""

# How a sweep is carried out, which may change while it goes on.
_IRRELEVANT = (
    "logdir",
    "device",
    "checkpoint_interval",
    "max_to_keep",
    "vectorization",
    "env_timeout",
)

Done = Callable[[Job, Outcome], None]
Execute = Callable[[Sequence[Job], Done], None]
"""Trains jobs, and tells of each when it is finished."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
      base: hyperparameters that all settings share, and the sweep's directory.
      space: those that vary.
      search: grid, random or optuna.
      trials: settings to try; a grid tries all.
      metric: the curve whose last quarter is the score, the higher the better.
      pruner: none, halving or median.
      population: at most so many settings in one program; None for all of a grid.
      workers: programs that train at the same time.
      on_host: the environment is on the host.
    """

    base: Config
    space: Sequence[Parameter]
    search: str = "grid"
    trials: int = 16
    metric: str = "eval/mean_reward"
    pruner: str = "none"
    population: int | None = None
    workers: int = 1
    on_host: bool = False

    @property
    def directory(self) -> pathlib.Path:
        return pathlib.Path(self.base.run_dir)

    def settings(self) -> dict[str, Any]:
        """What must stay as it is while a sweep goes on; how many random trials there are may grow."""
        config = {
            k: v for k, v in self.base.model_dump(mode="json").items() if k not in _IRRELEVANT
        }
        space = [
            {key: repr(value) for key, value in parameter._asdict().items()}
            for parameter in self.space
        ]
        how = {
            name: getattr(self, name)
            for name in ("search", "metric", "pruner", "population", "workers")
        }
        return {**how, "space": space, "config": config}


class Sweep:
    """A sweep on disk.

    Attributes:
      trials: all settings so far.
      jobs: outcomes by name, with what they cost.
    """

    def __init__(self, plan: Plan) -> None:
        """Reads what there is.

        Raises:
          UsageError: the directory holds another sweep.
        """
        self.plan = plan
        self.trials: list[Trial] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self._waves: list[list[Settings]] = []
        self._played = 0  # waves
        path = plan.directory / FILE
        if path.is_file():
            stored = read(path)
            self._check(stored)
            self._waves = [[_typed(plan.base, one) for one in wave] for wave in stored["waves"]]
            self.jobs = stored["jobs"]

    def _check(self, stored: dict[str, Any]) -> None:
        now = json.loads(json.dumps(self.plan.settings()))
        flat = [
            {**settings, **settings["config"], "config": None}
            for settings in (stored["settings"], now)
        ]
        changed = [name for name in flat[1] if flat[0].get(name) != flat[1][name]]
        if changed and stored["jobs"]:
            name = changed[0]
            old, new = (json.dumps(one.get(name)) for one in flat)
            raise UsageError(
                f"{self.plan.directory} holds a sweep with {name} {old} (now {new}): "
                f"leave that as it is, choose another --logdir, or start anew with --overwrite"
            )
        if changed:
            stored["waves"] = []

    def run(self, execute: Execute) -> None:
        """Trains whatever is not trained yet."""
        while settings := self._wave():
            first = len(self.trials)
            self.trials += [Trial(first + i, one) for i, one in enumerate(settings)]
            self._train(range(first, len(self.trials)), execute)
            self._played += 1
        self.save()

    def _wave(self) -> list[Settings]:
        """The next one: as written down, or newly proposed; none where the sweep ends."""
        plan = self.plan
        if self._played < len(self._waves):
            return self._waves[self._played]
        if plan.search == "grid":
            proposed = [] if self._played else search.grid(plan.space)
        else:
            count = min(
                (plan.population or SIDE_BY_SIDE) * plan.workers, plan.trials - len(self.trials)
            )
            told = [
                Told(one.settings, one.score, one.iterations, one.state == "whole")
                for one in self.trials
            ]
            proposed = search.propose(plan.search, plan.space, plan.base.seed, told, count)
        for one in proposed:
            search.apply(plan.base, one)  # refused, if need be, before anything is trained
        if proposed:
            self._waves.append(proposed)
            self.save()
        return proposed

    def _train(self, wave: range, execute: Execute) -> None:
        """Rung after rung, with those who are left."""
        plan, rungs = self.plan, search.rungs(self.plan.base, self.plan.pruner)
        todo = group(plan, self._played, [self.trials[i] for i in wave], rungs[0])
        for stage, until in enumerate(rungs, 1):
            execute([one for one in todo if one.name not in self.jobs], self._done)
            for one in todo:
                self._note(one)
            if until < rungs[-1]:
                running = [i for i in wave if self.trials[i].iterations == until]
                earlier = [score_at(trial, until) for trial in self.trials[: wave.start]]
                best = search.survivors(
                    plan.pruner, [self.trials[i].score for i in running], earlier
                )
                kept = {running[place] for place in best}
                todo = [
                    left for one in todo if (left := self._go_on(one, kept, stage, rungs[stage]))
                ]
                self._end("pruned", {*wave} - {i for one in todo for i in one.trials})
        self._end("whole", wave)

    def _done(self, one: Job, outcome: Outcome) -> None:
        agents = len(one.trials) * one.config.num_seeds * (one.config.iterations - one.start)
        self.jobs[one.name] = {
            "trials": one.trials,
            "agent_iterations": agents,
            **jobs.to_json(outcome),
        }
        self.save()
        if outcome.error:
            print_line(f"{one.name}: {outcome.error}")

    def _note(self, one: Job) -> None:
        """Writes an outcome beside the settings."""
        outcome = jobs.from_json(self.jobs[one.name])
        seeds = one.config.num_seeds
        for place, number in enumerate(one.trials):
            own = slice(place * seeds, (place + 1) * seeds)
            before = self.trials[number].curves or ((),) * seeds
            curves = [
                sorted({**dict(old), **dict(new)}.items())
                for old, new in zip(before, outcome.curves[own], strict=True)
            ]
            self.trials[number] = self.trials[number]._replace(
                iterations=one.config.iterations,
                scores=tuple(outcome.scores[own]),
                curves=tuple(curves),
                run=one.config.run_dir,
            )

    def _go_on(self, one: Job, kept: set[int], stage: int, until: int) -> Job | None:
        """The job with which those who are left of `one` go on until the next rung; None if nobody is.

        Its size is one of few, half and half again, so that few programs are compiled: the next best fill it up.
        """
        finite = [
            place for place, i in enumerate(one.trials) if math.isfinite(self.trials[i].score)
        ]
        wanted, size = len(kept.intersection(one.trials)), len(one.trials)
        if not wanted:
            return None
        while -(-size // 2) >= wanted and size > 1:
            size = -(-size // 2)
        places = sorted(
            sorted(finite, key=lambda place: -self.trials[one.trials[place]].score)[:size]
        )
        name, trials = (
            f"{one.name.partition(',rung_')[0]},rung_{stage}",
            tuple(one.trials[place] for place in places),
        )
        if len(places) == len(one.trials):
            return one._replace(
                name=name,
                config=search.apply(one.config, {"iterations": until}),
                parent=None,
                start=one.config.iterations,
            )
        seeds, members = one.config.num_seeds, one.config.members
        changed = {
            "iterations": until,
            "logdir": str(self.plan.directory / name),
            "members": tuple(members[i] for i in places),
        }
        agents = tuple(place * seeds + seed for place in places for seed in range(seeds))
        return Job(
            name,
            trials,
            search.apply(one.config, changed),
            one.config.run_dir,
            agents,
            one.config.iterations,
        )

    def _end(self, state: str, numbers: Iterable[int]) -> None:
        for i in numbers:
            if self.trials[i].state == "waiting":
                failed = not math.isfinite(self.trials[i].score)
                self.trials[i] = self.trials[i]._replace(state="failed" if failed else state)

    def save(self) -> None:
        """Writes everything down; a crash leaves the old file or the new one."""
        path = self.plan.directory / FILE
        told = {
            "settings": self.plan.settings(),
            **self.summary(),
            "waves": self._waves,
            "jobs": self.jobs,
        }
        temporary = path.with_name(f"{FILE}.tmp")
        temporary.write_text(json.dumps(told, indent=1) + "\n")
        temporary.replace(path)

    def summary(self) -> dict[str, Any]:
        """For people and scripts: all trials, the best first, and what they cost."""
        return {
            "metric": self.plan.metric,
            "trials": [row(trial) for trial in ranked(self.trials)],
            "agent_iterations": sum(one["agent_iterations"] for one in self.jobs.values()),
            "agent_iterations_without_pruner": len(self.trials)
            * self.plan.base.num_seeds
            * self.plan.base.iterations,
            "seconds": sum(one["seconds"] for one in self.jobs.values()),
        }


def group(plan: Plan, wave: int, trials: Sequence[Trial], until: int) -> list[Job]:
    """The first jobs of a wave: those that differ in mere numbers together, as many as `plan` allows."""
    grouped: dict[str, list[Trial]] = {}
    for trial in trials:
        grouped.setdefault(search.label(_split(plan, trial)[0]), []).append(trial)
    size = 1 if plan.on_host else plan.population or -(-len(trials) // plan.workers)
    found: list[Job] = []
    for shared, together in grouped.items():
        parts = [together[i : i + size] for i in range(0, len(together), size)]
        for i, part in enumerate(parts):
            names = [
                f"wave_{wave}" * (plan.search != "grid"),
                shared,
                f"part_{i}" * (len(parts) > 1),
            ]
            name = re.sub(r"[^\w.\-=,]+", "_", ",".join(filter(None, names))) or "all"
            fixed, numbers = _split(plan, part[0])
            members = tuple(_split(plan, trial)[1] for trial in part) if numbers else ()
            changed = {
                **fixed,
                "members": members,
                "iterations": until,
                "logdir": str(plan.directory / name),
            }
            numbers_of = tuple(trial.number for trial in part)
            found.append(
                Job(name, numbers_of, search.apply(plan.base, changed), on_host=plan.on_host)
            )
    return found


def _split(plan: Plan, trial: Trial) -> tuple[Settings, Settings]:
    """What decides shapes or branches, and what are mere numbers."""
    numbers = {
        k: v
        for k, v in trial.settings.items()
        if v is not None and mark(type(plan.base), k, "traced")
    }
    return {name: value for name, value in trial.settings.items() if name not in numbers}, numbers


def read(path: pathlib.Path) -> dict[str, Any]:
    """What `Sweep.save` wrote.

    Raises:
      UsageError: somebody else has.
    """
    try:
        stored = json.loads(path.read_text())
        return {name: stored[name] for name in ("settings", "waves", "jobs")}
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path} is damaged: choose another --logdir, or start anew with --overwrite"
        ) from None


def clear(directory: pathlib.Path) -> None:
    """Removes an older sweep: its files and its runs, and nothing else that lies there."""
    if (directory / FILE).is_file():
        for run in {
            path.relative_to(directory).parts[0] for path in directory.rglob("kwargs.json")
        } | {"ray"}:
            shutil.rmtree(directory / run, ignore_errors=True)
        for name in (FILE, "sweep.csv", "sweep.png"):
            (directory / name).unlink(missing_ok=True)


def local(metric: str, losses: Any) -> Execute:
    """Trains jobs in this process, one after another."""

    def execute(todo: Sequence[Job], done: Done) -> None:
        for one in todo:
            print_line(f"{one.name}: {describe(one)}")
            done(one, jobs.run(one, metric, losses))

    return execute


def describe(one: Job) -> str:
    """Such as `4 settings with 2 seeds each in one program, from 0 to 1,000 iterations`."""
    settings = f"{len(one.trials)} setting{'s' * (len(one.trials) > 1)}"
    seeds = f" with {one.config.num_seeds} seeds each" if one.config.num_seeds > 1 else ""
    how = "one run after another" if one.on_host else "in one program"
    return f"{settings}{seeds} {how}, from {one.start:,} to {one.config.iterations:,} iterations"


def _typed(base: Config, settings: Settings) -> Settings:
    """JSON has no tuples."""
    config = search.apply(base, settings)
    return {name: getattr(config, name) for name in settings}
