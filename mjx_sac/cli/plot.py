"""`mjx-sac plot`: learning curves of one run or many."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mjx_sac.cli.flags import option
from mjx_sac.cli.output import number, plural
from mjx_sac.config import UsageError, agent_names
from mjx_sac.runs import hub, provenance, stored_policy
from mjx_sac.training.host.console import print_line


def plot(
    runs: Annotated[list[Path], typer.Argument(help="runs' directories", metavar="RUN [RUN ...]")],
    metric: Annotated[str, option("which curve, as TensorBoard calls it")] = "eval/mean_reward",
    out: Annotated[Path, option("a .png, .pdf, .svg, .csv or .json")] = Path("curves.png"),
) -> None:
    """Draw learning curves, or write them as numbers.

    Runs that differ in nothing but their seed are one group: its mean, and minimum to maximum
    (quartiles, if they are 5 or more). A run of several agents counts as that many runs.

    Example: mjx-sac plot runs/ant-0 runs/ant-1 runs/ant-2 --out ant.png
    """
    from mjx_sac.runs import event_files
    from mjx_sac.runs import plot as plots

    plots.check(out)
    runs = [*map(hub.local, runs)]
    described: dict[str, dict[str, Any]] = {}
    for run in runs:
        for agent in agent_names(_describe(run)["config"]) or ("",):
            described[str(run / agent)] = _describe(run / agent)
    curves = _choose({run: event_files.read(Path(run)) for run in described}, metric)
    configs = [described[run]["config"] for run in curves]
    groups: dict[str, dict[str, Any]] = {}
    for label, (run, curve) in zip(plots.group(configs), curves.items(), strict=True):
        groups.setdefault(label, {})[run] = curve
    env = {config["env"] for config in configs}
    facts = ("git_commit", "versions")
    sources = {run: {fact: described[run].get(fact) for fact in facts} for run in curves}
    plots.write(groups, out, metric, title=env.pop() if len(env) == 1 else "", sources=sources)
    for label, group in groups.items():
        x, *values, _ = plots.summarise([*group.values()])
        if len(x):
            mean, low, high = (number(y[-1]) for y in values)
            print_line(f"{label}: {mean} ({low} to {high}) at {x[-1]:,.0f} iterations")
    print_line(f"{out}: {metric}, {plural(len(curves), 'run')} in {plural(len(groups), 'group')}")


def _describe(run: Path) -> dict[str, Any]:
    """Return a run's `kwargs.json`, which it has before its first checkpoint."""
    name = f"run = {str(run)!r}"
    try:
        found = provenance.current(json.loads((run / "kwargs.json").read_text(encoding="utf-8")))
        return {**found, "config": dict(found["config"], logdir=str(run))}
    except OSError:
        if below := len([*run.glob("*/kwargs.json")]):
            there = f"{plural(below, 'run')} below it"
            raise UsageError(f"{name}: no run itself, {there}: say {run}/*") from None
        return stored_policy.locate(run)[-1]
    except (ValueError, KeyError, TypeError):
        way_out = "resuming the run writes it again"
        raise UsageError(f"{name}: its kwargs.json is damaged: {way_out}") from None


def _choose(found: dict[str, dict[str, Any]], metric: str) -> dict[str, list[tuple[int, float]]]:
    """Return each run's curve; a run without one yet is named and left out."""
    known = {tag for curves in found.values() for tag in curves}
    if not known:
        way_out = "a run writes its first entry after log_interval iterations"
        raise UsageError(f"run = {next(iter(found))!r}: no curves there: {way_out}")
    if metric not in known:
        near = sorted(known, key=lambda tag: -difflib.SequenceMatcher(None, metric, tag).ratio())
        raise UsageError(f"metric = {metric!r}: no run has it; the nearest are {', '.join(near)}")
    for run, curves in found.items():
        if metric not in curves:
            print_line(f"{run}: has no {metric} yet, left out")
    return {run: sorted(x[metric].items()) for run, x in found.items() if metric in x}
