"""`mjx-sac sweep`: which hyperparameters are best."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import sys
from typing import Annotated, Any, Literal

import typer

from mjx_sac import envs
from mjx_sac.cli.flags import ConfigFile, Flags, Overwrite, show
from mjx_sac.config import Config, UsageError, build
from mjx_sac.runs.directory import lock, steps
from mjx_sac.runs.resolve import attach, configure
from mjx_sac.sweep import search
from mjx_sac.sweep import sweep as sweeps
from mjx_sac.sweep.sweep import Plan, Sweep
from mjx_sac.training.host.console import print_line


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(f"--{name}", help=text, rich_help_panel="Sweep", **more)


def sweep(
    flags: Flags,
    param: Annotated[
        list[str] | None,
        _option(
            "param",
            "what varies: name=1e-4,3e-4, or name=1e-5..1e-2; once for each",
            metavar="NAME=VALUES",
            show_default=False,
        ),
    ] = None,
    how: Annotated[
        Literal["grid", "random", "optuna"],
        _option("search", "all combinations, or --trials of them"),
    ] = "grid",
    trials: Annotated[
        int | None, _option("trials", "settings to try by random or optuna; auto is 16", min=1)
    ] = None,
    metric: Annotated[
        str, _option("metric", "the mean of the last quarter of this curve is the score")
    ] = "eval/mean_reward",
    pruner: Annotated[
        Literal["none", "halving", "median"],
        _option("pruner", "ends bad settings after a quarter and a half of the iterations"),
    ] = "none",
    population: Annotated[
        int | None,
        _option(
            "population", "settings side by side in one program; auto is a whole grid, or 8", min=1
        ),
    ] = None,
    ray: Annotated[
        str | None,
        _option(
            "ray", "train on Ray's workers: local, or the address of a cluster", metavar="ADDRESS"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        _option("workers", "programs that train at the same time on Ray; auto is 2", min=1),
    ] = None,
    as_json: Annotated[bool, _option("json", "print JSON and nothing else")] = False,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Try values of hyperparameters, and tell which are best.

    Values are listed (name=1e-4,3e-4; hidden_sizes=64x64,256x256) or lie in a range (name=low..high) whose logarithm is drawn from
    if it spans a factor of 10; log: or lin: before it says otherwise. The same command again goes on where it was stopped.

    Example: mjx-sac sweep --env ant --param policy_lr=1e-4,3e-4,1e-3 --param tau=0.005,0.01 --num_seeds 2
    """
    base = _base(flags, config)
    given = {*flags.given, *flags.found.file}
    space = search.parse(param or [], base, given)
    plan = Plan(
        base, space, how, trials or 16, metric, pruner, population, workers or (2 if ray else 1)
    )
    _check(plan, trials, ray, workers)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        plan = dataclasses.replace(plan, on_host=_on_host(base))
        with lock(plan.directory):
            if overwrite:
                sweeps.clear(plan.directory)
            found = Sweep(plan)
            found.run(_executor(plan, flags, ray))
            _write(found)
    print_line(json.dumps(found.summary()) if as_json else _lines(found))


def _base(flags: Flags, config: str | None) -> Config:
    """What all settings share; the directory is `runs/<env>-sweep` unless it is named."""
    explicit = {**flags.found.file, **flags.given}
    where = build(Config, {name: explicit[name] for name in ("env", "logdir") if name in explicit})
    logdir = where.logdir or f"{where.run_dir}-sweep"
    given = {**flags.given, "logdir": logdir}
    base = configure(flags.found, given)
    attach(base, overwrite=True)
    if steps(pathlib.Path(logdir)):
        raise UsageError(f"logdir = {logdir!r}: holds a run, no sweep: choose another --logdir")
    if base.members:
        raise UsageError("members: a sweep makes them itself: say --param name=value,value,...")
    return base


def _check(plan: Plan, trials: int | None, ray: str | None, workers: int | None) -> None:
    """What can be wrong before JAX is imported."""
    if plan.search == "grid":
        for settings in search.grid(plan.space):
            search.apply(plan.base, settings)
        if trials:
            raise UsageError(
                f"trials = {trials}: a grid tries every combination: leave it out, or say --search random or optuna"
            )
    if plan.search == "optuna":
        search.check_optuna()
    if plan.metric.startswith("eval/") and not plan.base.episodes_per_eval:
        raise UsageError(
            f"metric = {plan.metric!r}: episodes_per_eval is 0: raise it, or say --metric rollout/ep_rew_mean"
        )
    search.rungs(plan.base, plan.pruner)
    if workers and not ray:
        raise UsageError(
            f"workers = {workers}: they are Ray's: say --ray local too, or side by side in one process --population"
        )
    if ray:
        from mjx_sac.sweep import ray as ray_executor

        ray_executor.check(ray)


def _on_host(base: Config) -> bool:
    """Whether its environment is, of which the name alone says it of some."""
    if envs.by_brax(base.env) or envs.is_gym_id(base.env):
        return not envs.by_brax(base.env)
    return hasattr(envs.make(base.env, base), "simulator")


def _executor(plan: Plan, flags: Flags, ray: str | None) -> sweeps.Execute:
    losses = None if plan.base.losses else flags.losses
    if not ray:
        return sweeps.local(plan.metric, losses)
    from mjx_sac.sweep import ray as ray_executor

    return ray_executor.executor(plan, ray, losses)


def _write(found: Sweep) -> None:
    """`sweep.csv` and `sweep.png` beside `sweep.json`."""
    from mjx_sac.sweep import plot

    plan, rows = found.plan, found.summary()["trials"]
    names = [parameter.name for parameter in plan.space]
    with (plan.directory / "sweep.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ("score", "low", "high", "iterations", "state", "run")
        writer.writerow(["trial", *names, *columns])
        for row in rows:
            settings = [search.show(row["settings"][name]) for name in names]
            writer.writerow(
                [
                    row["trial"],
                    *settings,
                    *("" if row[name] is None else row[name] for name in columns),
                ]
            )
    seeds = f", mean of {plan.base.num_seeds} seeds" if plan.base.num_seeds > 1 else ""
    title = f"{plan.base.env}: {len(rows)} settings, {plan.base.iterations:,} iterations{seeds}"
    plot.draw(plan.space, found.trials, plan.metric, title, plan.directory / "sweep.png")


def _lines(found: Sweep) -> str:
    """The table, the best first, and what to do with it."""
    from rich.console import Console
    from rich.table import Table

    plan, summary = found.plan, found.summary()
    names = [parameter.name for parameter in plan.space]
    table = Table(
        "trial",
        *names,
        plan.metric,
        *(("from", "to") if plan.base.num_seeds > 1 else ()),
        "iterations",
        "",
    )
    for row in summary["trials"]:
        spread = [row["low"], row["high"]] if plan.base.num_seeds > 1 else []
        figures = [
            "" if x is None else f"{x:,.4g}" if abs(x) < 1e4 else f"{x:,.0f}"
            for x in (row["score"], *spread)
        ]
        settings = [search.show(row["settings"][name]) for name in names]
        table.add_row(
            str(row["trial"]),
            *settings,
            *figures,
            f"{row['iterations']:,}",
            row["state"].replace("whole", ""),
        )
    console = Console(width=None if sys.stdout.isatty() else 132)
    with console.capture() as captured:
        console.print(table)
    saved = 1 - summary["agent_iterations"] / summary["agent_iterations_without_pruner"]
    cost = f"{summary['agent_iterations']:,} iterations of all agents" + (
        f", {saved:.0%} saved by the pruner" if saved else ""
    )
    best = summary["trials"][0]
    flags = " ".join(
        f"--{name} {show(value) if value is not None else 'auto'}"
        for name, value in best["settings"].items()
    )
    lines = [
        captured.get().rstrip(),
        f"{cost}, in {summary['seconds']:,.0f} s of training",
        f"best: {flags}",
    ]
    if best["score"] is None:
        lines[-1] = "every setting failed: the lines above say why"
    return "\n".join([*lines, f"{plan.directory}: sweep.png, sweep.csv, sweep.json"])
