"""`mjx-sac sweep`: which hyperparameters are best."""

import contextlib
import csv
import dataclasses
import functools
import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from mjx_sac import envs
from mjx_sac.cli import output
from mjx_sac.cli.flags import ConfigFile, Flags, Json, Overwrite, option
from mjx_sac.config import Config, UsageError, require, staying, typed
from mjx_sac.runs.directory import lock, steps
from mjx_sac.runs.resolve import attach, configure
from mjx_sac.sweep.space import apply, parse, show
from mjx_sac.training.host.console import print_line

if TYPE_CHECKING:
    from mjx_sac.sweep.sweep import Plan, Sweep

_option = functools.partial(option, panel="Sweep")
_VARIES = "what varies: name=1e-4,3e-4, or name=1e-5..1e-2; once for each"
_ALL = "all combinations, or --trials of them"
_PRUNED = "ends bad settings after a quarter and a half of the iterations"
_SIZE = "settings in one program; else all of a grid, or 8"
_COLUMNS = ("score", "low", "high", "iterations", "state", "run")
_RAY = "train on Ray: local, or a cluster's address"
_SCORE = "the mean of this curve's last quarter is the score"


def sweep(
    flags: Flags,
    param: Annotated[list[str] | None, _option(_VARIES, "--param", metavar="NAME=VALUES")] = None,
    how: Annotated[Literal["grid", "random", "optuna"], _option(_ALL, "--search")] = "grid",
    trials: Annotated[int | None, _option("settings to try; else 16", min=1)] = None,
    metric: Annotated[str, _option(_SCORE)] = "eval/mean_reward",
    pruner: Annotated[Literal["none", "halving", "median"], _option(_PRUNED)] = "none",
    population: Annotated[int | None, _option(_SIZE, min=1)] = None,
    ray: Annotated[str | None, _option(_RAY, metavar="ADDRESS")] = None,
    workers: Annotated[int | None, _option("programs at once on Ray; else 2", min=1)] = None,
    as_json: Json = False,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Try values of hyperparameters, and say which are best.

    Values are listed (name=1e-4,3e-4; hidden_sizes=64x64,256x256) or lie in a range
    (name=low..high), drawn from logarithmically where it spans a factor of 10; log: or lin: before
    it says otherwise. The same command resumes a sweep that was stopped.

    Example: mjx-sac sweep --env ant --param policy_lr=1e-4,3e-4,1e-3 --param tau=0.005,0.01
    """
    require(["optuna"], "tune", "sweep")
    base = _base(flags)  # `flags.found` has read `config`
    space = parse(param or [], base, {*flags.given, *flags.found.file})
    from mjx_sac.sweep import sweep as sweeps
    from mjx_sac.sweep.job import check_metric

    at_once = workers or (2 if ray else 1)
    plan = sweeps.Plan(base, space, how, trials or 16, metric, pruner, population, at_once)
    _check(plan, trials, ray, workers)
    losses = flags.losses if base.algorithm == "sac" else None
    execute = sweeps.local(metric, losses)
    if ray:
        from mjx_sac.sweep import ray as on_ray

        on_ray.check(ray)
        execute = on_ray.executor(ray, at_once, metric, losses)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        check_metric(base, metric, losses)
        plan = dataclasses.replace(plan, on_host=_on_host(base))
        with lock(plan.directory):
            if overwrite:
                sweeps.clear(plan.directory)
            found = sweeps.Sweep(plan)
            found.run(execute)
            _write(found)
    print_line(json.dumps(found.summary()) if as_json else _lines(found))


def _base(flags: Flags) -> Config:
    """Return what all settings share; the directory is `runs/<env>-sweep` unless it is named."""
    directory = flags.found.directory
    base = configure(flags.found, flags.given)
    if base.logdir is None:
        directory = directory.with_name(f"{directory.name}-sweep")
    base = base.model_copy(update={"logdir": str(directory)})
    if steps(directory):
        raise UsageError(f"logdir = {str(directory)!r}: holds a run: choose another --logdir")
    if base.members:
        raise UsageError("members: a sweep makes them itself: say --param name=value,value,...")
    if base.stop_at is not None:
        way_out = "every setting is trained for all iterations: leave it out, or say --pruner"
        raise UsageError(f"stop_at = {base.stop_at:g}: {way_out}")
    return base


def _check(plan: "Plan", trials: int | None, ray: str | None, workers: int | None) -> None:
    """Raise UsageError for what can be wrong before JAX is imported."""
    from mjx_sac.sweep import search

    for trial in plan.propose([], plan.wave_size(0)):  # such as a data set that is not there
        attach(apply(plan.base, search.settings(plan.space, trial)), overwrite=True)
    search.rungs(plan.base, plan.pruner)
    problem = None
    if plan.search == "grid" and trials:
        problem = f"trials = {trials}: a grid tries all: leave it out, or say --search random"
    elif plan.metric.startswith("eval/") and not plan.base.episodes_per_eval:
        way_out = "raise it, or say --metric rollout/ep_rew_mean"
        problem = f"metric = {plan.metric!r}: episodes_per_eval is 0: {way_out}"
    elif workers and not ray:
        problem = f"workers = {workers}: they are Ray's: say --ray local too, or use --population"
    if problem:
        raise UsageError(problem)


@staying()
def _on_host(base: Config) -> bool:
    """Return whether the environment is on the host, which the name alone says for some."""
    if envs.by_brax(base.env):
        return False
    return envs.is_gym_id(base.env) or hasattr(envs.make(base.env, base), "simulator")


def _write(found: "Sweep") -> None:
    """Write `sweep.csv` and `sweep.png` beside `sweep.json`."""
    plan, rows = found.plan, found.summary()["trials"]
    with (plan.directory / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", *(p.name for p in plan.space), *_COLUMNS])
        for row in rows:
            settings = map(show, row["settings"].values())
            writer.writerow([row["trial"], *settings, *(row[name] for name in _COLUMNS)])
    try:
        require(["matplotlib"], "plot", "sweep.png")
    except UsageError as error:
        return print_line(f"no picture: {error}")
    from mjx_sac.sweep import plot

    seeds = f", mean of {plan.base.num_seeds} seeds" if plan.base.num_seeds > 1 else ""
    title = f"{plan.base.env}: {len(rows)} settings, {plan.base.iterations:,} iterations{seeds}"
    plot.draw(found.study, plan.space, plan.metric, title, plan.directory / "sweep.png")


def _lines(found: "Sweep") -> str:
    """Return the table, the best first, and what to do with it."""
    plan, summary = found.plan, found.summary()
    columns = _COLUMNS[:-1] if plan.base.num_seeds > 1 else ("score", "iterations", "state")
    header = ["trial", *(p.name for p in plan.space), *columns]
    table = [[plan.metric if name == "score" else name for name in header]]
    for row in summary["trials"]:
        settings = map(show, row["settings"].values())
        shown = ["" if row[c] is None else output.number(row[c]) for c in columns[:-2]]
        state = row["state"].replace("completed", "")
        table.append([str(row["trial"]), *settings, *shown, f"{row['iterations']:,}", state])
    saved = 1 - summary["agent_iterations"] / summary["agent_iterations_without_pruner"]
    pruned = f", {saved:.0%} saved by the pruner" if saved else ""
    best = summary["trials"][0]
    flags = [typed(name, value) for name, value in best["settings"].items()]
    failed = "every setting failed: the lines above say why"
    files = [path.name for path in sorted(plan.directory.glob("sweep.*"))]
    return (
        f"{output.table(table)}\n"
        f"{summary['agent_iterations']:,} iterations of all agents{pruned}, in "
        f"{summary['seconds']:,.0f} s of training\n"
        f"{failed if best['score'] is None else 'best: ' + ' '.join(flags)}\n"
        f"{plan.directory}: {', '.join(files)}"
    )
