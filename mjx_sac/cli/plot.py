"""`mjx-sac plot`: learning curves of one run or many."""

import difflib
import json
import pathlib
from typing import Annotated, Any

import typer

from mjx_sac.config import UsageError, agent_names
from mjx_sac.runs import stored_policy
from mjx_sac.training.host.console import print_line


def plot(
    runs: Annotated[
        list[pathlib.Path],
        typer.Argument(help="directories of runs", metavar="RUN [RUN ...]", show_default=False),
    ],
    metric: Annotated[
        str, typer.Option(help="which curve, as TensorBoard calls it")
    ] = "eval/mean_reward",
    out: Annotated[
        pathlib.Path, typer.Option(help="the file; its suffix says what: png, pdf, svg, csv, json")
    ] = pathlib.Path("curves.png"),
) -> None:
    """Draw learning curves, or write them as numbers.

    Runs that differ in nothing but their seed are one group: its mean, and minimum to maximum (from 5 runs on the quartiles).
    A run of several agents counts as so many runs.

    Example: mjx-sac plot runs/ant-0 runs/ant-1 runs/ant-2 --out ant.png
    """
    from mjx_sac.runs import event_files
    from mjx_sac.runs import plot as plots

    if out.suffix not in plots.PICTURES + plots.NUMBERS:
        raise UsageError(
            f"out = {str(out)!r}: no such format: end it in {', '.join(plots.PICTURES + plots.NUMBERS)}"
        )
    runs = [agent for run in runs for agent in _agents(run)]
    described = {str(run): _described(run) for run in runs}
    curves = _chosen({str(run): event_files.read(run) for run in runs}, metric)
    configs = [described[run]["config"] for run in curves]
    groups: dict[str, dict[str, Any]] = {}
    for label, (run, curve) in zip(plots.group(configs), curves.items(), strict=True):
        groups.setdefault(label, {})[run] = curve
    env = {config["env"] for config in configs}
    sources = {
        run: {key: described[run].get(key) for key in ("git_commit", "versions")} for run in curves
    }
    plots.write(groups, out, metric, title=env.pop() if len(env) == 1 else "", sources=sources)
    for label, group in groups.items():
        last = plots.summarise([*group.values()])
        if len(last.x):
            print_line(
                f"{label}: {last.mean[-1]:,.4g} ({last.low[-1]:,.4g} to {last.high[-1]:,.4g}) at {last.x[-1]:,.0f} iterations"
            )
    print_line(f"{out}: {metric}, {_count(len(curves), 'run')} in {_count(len(groups), 'group')}")


def _agents(run: pathlib.Path) -> list[pathlib.Path]:
    """The directories of the agents that were trained side by side, or the run itself."""
    return [run / name for name in agent_names(_described(run)["config"])] or [run]


def _described(run: pathlib.Path) -> dict[str, Any]:
    """Its `kwargs.json`, which a run has before its first checkpoint."""
    try:
        found = json.loads((run / "kwargs.json").read_text())
        return {**found, "config": dict(found["config"], logdir=str(run))}
    except OSError:
        below = sorted(path.parent for path in run.glob("*/kwargs.json"))
        if below:
            raise UsageError(
                f"run = {str(run)!r}: no run itself, but {_count(len(below), 'run')} lie in it: say {run}/*"
            ) from None
        return {"config": stored_policy.find(run).config.model_dump(mode="json")}
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"run = {str(run)!r}: its kwargs.json is damaged: going on with the run writes it anew"
        ) from None


def _chosen(
    found: dict[str, dict[str, dict[int, float]]], metric: str
) -> dict[str, list[tuple[int, float]]]:
    """Of every run its curve; a run that has none yet is named and left out."""
    known = {tag for curves in found.values() for tag in curves}
    empty = next((run for run, curves in found.items() if not curves), None)
    if not known:
        raise UsageError(
            f"run = {empty!r}: no curves there: a run writes its first entry after log_interval iterations"
        )
    if metric not in known:
        near = sorted(known, key=lambda tag: -difflib.SequenceMatcher(None, metric, tag).ratio())
        raise UsageError(
            f"metric = {metric!r}: no run has it; nearest first, there are {', '.join(near)}"
        )
    for run in (run for run, curves in found.items() if metric not in curves):
        print_line(f"{run}: has no {metric} yet, left out")
    return {
        run: sorted(curves[metric].items()) for run, curves in found.items() if metric in curves
    }


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
