"""`mjx-sac info`: what lies in a run's directory."""

import json
from typing import Annotated, Any

import typer

from mjx_sac.config import Config
from mjx_sac.training.host.console import print_line


def info(
    run: Annotated[str, typer.Argument(help="the run's directory", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON and nothing else")] = False,
) -> None:
    """Show a run: progress, returns, checkpoints, configuration, versions.

    Example: mjx-sac info runs/ant
    """
    from mjx_sac.runs.info import inspect

    found = inspect(run)
    if as_json:
        print_line(json.dumps(found))
        return
    before = ""
    for name, line in _lines(found):
        print_line(f"{name if name != before else '':<12} {line}")
        before = name


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    done = found["iterations"]
    speed = (
        f", {found['iterations_per_second']:,.0f} iterations/s"
        if found["iterations_per_second"]
        else ""
    )
    lines = [
        ("run", f"{found['run']}: {found['env']}"),
        (
            "progress",
            f"{done['saved']:,} of {done['total']:,} iterations saved, {done['logged']:,} logged{speed}",
        ),
    ]
    for tag, curve in found["returns"].items():
        if not tag.endswith("std_reward"):
            best = max(curve, key=lambda x: curve[x])
            last = "   ".join(f"{curve[x]:,.1f} at {int(x):,}" for x in list(curve)[-3:])
            lines.append(
                (
                    tag.partition("/")[0],
                    f"{last}   (best {curve[best]:,.1f} at {int(best):,})   {tag}",
                )
            )
    for name, last in found["agents"].items():
        returns = "   ".join(
            f"{value:,.1f} {tag}"
            for tag, value in last.items()
            if value is not None and "std" not in tag
        )
        lines.append(("agents", f"{name}   {returns or 'nothing logged yet'}"))
    for checkpoint in found["checkpoints"]:
        damage = f"   damaged: {checkpoint['damaged']}" if checkpoint["damaged"] else ""
        lines.append(
            (
                "checkpoints",
                f"{checkpoint['iterations']:,}   {checkpoint['bytes'] / 1e6:,.1f} MB{damage}",
            )
        )
    lines.append(
        (
            "on disk",
            f"{found['bytes_on_disk'] / 1e6:,.1f} MB, files that checkpoints share counted once",
        )
    )
    defaults = Config().model_dump(mode="json")
    for name, value in found["not_default"].items():
        if name not in ("env", "logdir", "iterations"):  # told already
            default = f"   (default {_show(defaults[name])})" if name in defaults else ""
            lines.append(("configured", f"{name} = {_show(value)}{default}"))
    lines.append(
        (
            "versions",
            ", ".join(
                f"{name} {version}" for name, version in found["versions"].items() if version
            ),
        )
    )
    return [*lines, ("git commit", found["git_commit"] or "unknown")]


def _show(value: Any) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, list)
        else "auto"
        if value is None
        else str(value)
    )
