"""`mjx-sac info`: what lies in a run's directory."""

import json
from collections.abc import Iterator
from typing import Any

from mjx_sac.cli.flags import Json, RunDirectory
from mjx_sac.cli.output import size
from mjx_sac.config import Config, show
from mjx_sac.training.host.console import print_line


def info(run: RunDirectory, as_json: Json = False) -> None:
    """Show a run: progress, returns, checkpoints, configuration, versions.

    Example: mjx-sac info runs/ant
    """
    from mjx_sac.runs.info import inspect

    found = inspect(run)
    if as_json:
        return print_line(json.dumps(found))
    before = ""
    for label, text in _lines(found):
        print_line(f"{label if label != before else '':<12} {text}")
        before = label


def _best(returns: list[float | None], iterations: int | list[int]) -> str:
    """Return what was reached and when, of the agents' bests the highest first."""
    at = [iterations] if isinstance(iterations, int) else iterations
    known = [(x, n) for x, n in zip(returns, at, strict=True) if x is not None]
    highest = sorted(known, reverse=True)[:3]
    return "   ".join(f"{x:,.1f} at {n:,}" for x, n in highest) + "   --step best"


def _part(part: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what a part of the run was trained with, as far as it is not what is used `now`."""
    others = [f", {name} {x}" for name, x in part["versions"].items() if x != now.get(name)]
    commit = part["git_commit"] or "unknown"
    return f"from {part['iterations']:,} iterations: git commit {commit}{''.join(others)}"


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield lines, each with a label; the same label again is not repeated."""
    done, speed = found["iterations"], found["iterations_per_second"]
    yield "run", f"{found['run']}: {found['env']}"
    progress = f"{done['saved']:,} of {done['total']:,} iterations saved, {done['logged']:,} logged"
    yield "progress", progress + (f", {speed:,.0f} iterations/s" if speed else "")
    for tag, curve in found["returns"].items():
        if "std" not in tag:
            at = {x: f"{y:,.1f} at {int(x):,}" for x, y in curve.items()}
            last, best = [*at.values()][-3:], at[max(curve, key=lambda x: curve[x])]
            yield tag.partition("/")[0], f"{'   '.join(last)}   (best {best})   {tag}"
    for name, last in found["agents"].items():
        known = {tag: y for tag, y in last.items() if y is not None and "std" not in tag}
        returns = "   ".join(f"{y:,.1f} {tag}" for tag, y in known.items())
        yield "agents", f"{name}   {returns or 'nothing logged yet'}"
    for checkpoint in found["checkpoints"]:
        damage = f"   damaged: {checkpoint['damaged']}" if checkpoint["damaged"] else ""
        yield "checkpoints", f"{checkpoint['iterations']:,}   {size(checkpoint['bytes'])}{damage}"
    if best := found["best"]:
        yield "best", best["damaged"] or _best(best["returns"], best["iterations"])
    yield "on disk", f"{size(found['bytes_on_disk'])}, files that checkpoints share counted once"
    defaults = Config().model_dump(mode="json")
    for name, value in found["not_default"].items():
        if name not in ("env", "logdir", "iterations"):  # shown above
            default = f"   (default {show(defaults[name])})" if name in defaults else ""
            yield "configured", f"{name} = {show(value)}{default}"
    yield "versions", ", ".join(f"{name} {x}" for name, x in found["versions"].items() if x)
    yield "git commit", found["git_commit"] or "unknown"
    yield from (("before", _part(part, found["versions"])) for part in found["history"][:-1])
