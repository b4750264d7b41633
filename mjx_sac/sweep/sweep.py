"""A sweep over hyperparameters: waves of settings, trained side by side in few compiled programs.

    wave      settings that a search proposes at once; a grid is one wave
    job       those of them that differ in traced numbers only: one program, one run; see `job.py`
    rung      iterations after which a pruner ends the worse settings of a wave; the others continue
              in a smaller program

All that must survive is in an Optuna study: a wave before it is trained, scores when a job is
finished. A sweep that was killed runs the last wave again: what is in the study is not trained
again, and a job that had begun resumes from its own checkpoint.
"""

# pyright: basic
import contextlib
import dataclasses
import itertools
import json
import math
import pathlib
import re
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mjx_sac.config import Config, UsageError, absolute, mark, marked, renamed
from mjx_sac.runs import directory as runs
from mjx_sac.sweep import job as jobs
from mjx_sac.sweep import search
from mjx_sac.sweep.job import Job, Outcome
from mjx_sac.sweep.space import Parameter, apply, label
from mjx_sac.training.host.console import print_line

SIDE_BY_SIDE = 8  # settings in one program, where a search could propose for ever
_STATES = {"RUNNING": "waiting", "COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}

Done = Callable[[Job, Outcome], None]
Execute = Callable[[Sequence[Job], Done], None]
"""Trains jobs, and calls back with each when it is finished."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
      base: hyperparameters that all settings share, and the sweep's directory.
      search: grid, which tries all, or `trials` settings, random or optuna.
      metric: the curve whose last quarter is the score, the higher the better.
      pruner: none, halving or median.
      population: at most so many settings in one program; None for all of a grid.
      workers: programs that train at the same time.
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
        return absolute(self.base.run_dir)

    def fixed(self) -> dict[str, Any]:
        """Return what a resumed sweep must keep, as JSON has it: all but `trials`."""
        names = ("search", "metric", "pruner", "population", "workers")
        plan = {name: getattr(self, name) for name in names}
        space = {p.name: [repr(value) for value in p[1:]] for p in self.space}
        how = {*marked(type(self.base), "how")}
        return {"param": space, **plan, **self.base.model_dump(mode="json", exclude=how)}

    def wave_size(self, past: int) -> int:
        """Return how many settings to propose after `past`: a grid at once, others in turns."""
        if self.search == "grid":
            return search.grid_size(self.space) - past
        return min((self.population or SIDE_BY_SIDE) * self.workers, self.trials - past)

    def propose(self, past: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
        """Return the next trials; raise UsageError where one does not fit the rest of `base`."""
        found = search.propose(self.search, self.space, self.base.seed, past, count)
        for trial in found:
            apply(self.base, search.settings(self.space, trial))
        return found


class Sweep:
    """A sweep on disk, in Optuna's `study`.

    The attribute `wave` of a trial says with which others it was proposed (`index` of the wave, its
    `first` trial, its `size`), `result` what came of it so far.
    """

    def __init__(self, plan: Plan) -> None:
        """Open the study, holding the directory's lock; UsageError if it is another sweep's."""
        self.plan, self.study = plan, search.open_study(plan.directory)
        stored, now = self.study.user_attrs.get("plan", {}), plan.fixed()
        was = {**Config().model_dump(mode="json"), **renamed(stored)}  # it may lack a newer field
        changed = [name for name in now if stored and was.get(name) != now[name]]
        if changed and any("result" in trial.user_attrs for trial in self._trials()):
            old, new = (json.dumps(one.get(changed[0])) for one in (was, now))
            other = f"{plan.directory} holds a sweep with {changed[0]} {old} (now {new})"
            raise UsageError(f"{other}: leave that as it is, {runs.OTHERWISE}")
        if changed:
            (plan.directory / search.FILE).unlink()
            self.study = search.open_study(plan.directory)
        self.study.set_user_attr("plan", now)

    def run(self, execute: Execute) -> None:
        """Train what is not trained yet."""
        while wave := self._wave():
            self._train(wave, execute)
        self._save()

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _wave(self) -> range:
        """Return the numbers of the trials to train next: begun before, or proposed now."""
        trials = self._trials()
        index = trials[-1].user_attrs["wave"]["index"] + 1 if trials else 0
        wave = {"index": index, "first": len(trials), "size": self.plan.wave_size(len(trials))}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                wave = dict(trial.user_attrs["wave"])
        first = wave["first"]
        if len(trials) < first + wave["size"]:  # a killed process may have written some of them
            proposed = self.plan.propose(trials[:first], wave["size"])
            wave["size"] = len(proposed)
            for trial in proposed[len(trials) - first :]:
                trial.set_user_attr("wave", wave)
                self.study.add_trial(trial)
        return range(first, first + wave["size"])

    def _train(self, wave: range, execute: Execute) -> None:
        """Train a wave, rung after rung, each time with those that are left."""
        rungs = search.rungs(self.plan.base, self.plan.pruner)
        jobs = self._first_jobs(wave, rungs[0])
        for until, following in itertools.pairwise([*rungs, None]):
            finished = {t.number for t in self._trials() if _result(t)["iterations"] >= until}
            execute([job for job in jobs if not finished.issuperset(job.trials)], self._record)
            if following is None:
                break
            running = [number for job in jobs for number in job.trials]
            steps = {trial.number: trial.intermediate_values for trial in self._trials()}
            scores = {number: at[until] for number, at in steps.items() if until in at}
            kept = search.survivors(self.plan.pruner, running, scores)
            jobs = [new for job in jobs if (new := job.smaller(kept, scores, following))]
            self._tell({*running}.difference(*(job.trials for job in jobs)), TrialState.PRUNED)
        self._tell(wave, TrialState.COMPLETE)

    def _first_jobs(self, wave: range, until: int) -> list[Job]:
        """Return the jobs a wave begins with: settings that differ in traced numbers together."""
        plan, trials, found = self.plan, self._trials(), []
        programs: dict[str, list[Any]] = {}
        for number in wave:
            settings = search.settings(plan.space, trials[number])
            traced = [name for name in settings if mark(type(plan.base), name, "traced")]
            member = {name: settings[name] for name in traced if settings[name] is not None}
            fixed = {name: value for name, value in settings.items() if name not in member}
            programs.setdefault(label(fixed), []).append((number, member, fixed))
        size = 1 if plan.on_host else plan.population or -(-len(wave) // plan.workers)
        index = trials[wave[0]].user_attrs["wave"]["index"]
        # A rung is not a run's end.
        whole: dict[str, Any] = {
            "schedule_iterations": plan.base.schedule_iterations or plan.base.iterations,
            "track_group": plan.base.track_group or str(plan.directory),
        }
        prefix = "" if plan.search == "grid" else f"wave_{index}"
        for shared, group in programs.items():
            for i in range(0, len(group), size):
                numbers, members, (fixed, *_) = zip(*group[i : i + size], strict=True)
                parts = (prefix, shared, f"part_{i // size}" if len(group) > size else "")
                name = re.sub(r"[^\w.\-=,]+", "_", ",".join(filter(None, parts))) or "all"
                changed = {"members": members if members[0] else (), "iterations": until}
                changed["logdir"] = str(plan.directory / name)
                config = apply(plan.base, {**whole, **fixed, **changed})
                found.append(Job(name, numbers, config, on_host=plan.on_host))
        return found

    def _record(self, job: Job, outcome: Outcome) -> None:
        """Write what came of a job beside its settings."""
        trials, seeds, until = self._trials(), job.config.num_seeds, job.config.iterations
        for place, number in enumerate(job.trials):
            before = _result(trials[number])
            if before["iterations"] >= until:
                continue  # a killed process wrote some of them
            scores = outcome.scores[place * seeds : (place + 1) * seeds]
            trial = optuna.trial.Trial(self.study, trials[number]._trial_id)
            if all(map(math.isfinite, scores)) and until not in trials[number].intermediate_values:
                trial.report(float(np.mean(scores)), until)
            result = {
                "iterations": until,
                "scores": [score if math.isfinite(score) else None for score in scores],
                "run": job.config.run_dir,
                "seconds": before["seconds"] + outcome.seconds / len(job.trials),
            }
            trial.set_user_attr("result", result)
        self._save()
        if outcome.error:
            print_line(f"{job.name}: {outcome.error}")

    def _tell(self, numbers: Container[int], state: TrialState) -> None:
        """End trials that run; one that is non-finite with one of its seeds has failed."""
        for trial in self._trials():
            if trial.number in numbers and trial.state == TrialState.RUNNING:
                score = _score(trial)
                end = TrialState.FAIL if score is None else state
                self.study.tell(trial.number, score if end == TrialState.COMPLETE else None, end)

    def summary(self) -> dict[str, Any]:
        """Return all trials, the best first, and what they cost, for people and scripts."""
        base, rows = self.plan.base, []
        for trial in self._trials():
            result, score = _result(trial), _score(trial)
            settings, state = search.settings(self.plan.space, trial), _STATES[trial.state.name]
            row = {"trial": trial.number, "settings": settings, "state": state, "score": score}
            ends: list[Any] = [None] if score is None else result["scores"]
            rows.append({**row, "low": min(ends), "high": max(ends), **result})
        # Those that were stopped come after those that were not, those that failed last.
        rows.sort(key=lambda row: (row["score"] is None, -row["iterations"], -(row["score"] or 0)))
        return {
            "metric": self.plan.metric,
            "trials": rows,
            "agent_iterations": base.num_seeds * sum(row["iterations"] for row in rows),
            "agent_iterations_without_pruner": base.num_seeds * len(rows) * base.iterations,
            "seconds": sum(row["seconds"] for row in rows),
        }

    def _save(self) -> None:
        """Write `sweep.json`; a crash leaves the old file or the new one."""
        temporary = self.plan.directory / "sweep.tmp"
        temporary.write_text(json.dumps(self.summary(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(temporary.with_suffix(".json"))


def _result(trial: FrozenTrial) -> dict[str, Any]:
    return trial.user_attrs.get("result", {"iterations": 0, "scores": [], "run": "", "seconds": 0})


def _score(trial: FrozenTrial) -> float | None:
    """Return the mean over seeds; None where there is none yet, or one of them failed."""
    scores = _result(trial)["scores"]
    return float(np.mean(scores)) if scores and None not in scores else None


def clear(directory: pathlib.Path) -> None:
    """Remove an older sweep: its files and its runs, and nothing else that lies there."""
    files = [directory / name for name in (search.FILE, "sweep.json", "sweep.csv", "sweep.png")]
    if any(path.is_file() for path in files[:2]):
        for path in sorted(directory.rglob("kwargs.json"), reverse=True):  # agents before their run
            runs.clear(path.parent)
            (path.parent / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it has files of the user's
                path.parent.rmdir()
                path.parent.parent.rmdir()
        for path in files:
            path.unlink(missing_ok=True)


def local(metric: str, losses: Any) -> Execute:
    """Return what trains jobs in this process, one after another."""

    def execute(todo: Sequence[Job], done: Done) -> None:
        for job in todo:
            print_line(job.describe())
            done(job, jobs.run(job, metric, losses))

    return execute
