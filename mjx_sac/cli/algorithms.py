"""`mjx-sac algorithms`: what can be trained with."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mjx_sac.algorithms import PACKAGED, describe, differences, loader
from mjx_sac.cli.flags import Json
from mjx_sac.cli.output import number, table
from mjx_sac.config import Config, UsageError, nearest, show
from mjx_sac.training.host.console import print_line

_COST = "update: arithmetic of the gradient steps per iteration, SAC's is 1, for HalfCheetah"


def algorithms(
    name: Annotated[str | None, typer.Argument(help="one of them, with its own flags")] = None,
    as_json: Json = False,
) -> None:
    """List the packaged algorithms.

    With their paper, what their gradient steps cost and when to use them.

    Example: mjx-sac algorithms flashsac
    """
    if name is not None and name not in PACKAGED:
        there = nearest(name, [*PACKAGED]) or f"; there are {', '.join(PACKAGED)}"
        raise UsageError(f"name = {name!r}: no packaged algorithm{there}")
    found = [_describe(one, name is not None) for one in ([name] if name else PACKAGED)]
    if as_json:
        return print_line(json.dumps(found, indent=1))
    if name:
        return print_line(table([("algorithm", name), *_details(found[0])]))
    rows = [("algorithm", "update", "paper", "when to use it")]
    for one in found:
        rows.append((one["algorithm"], number(one["update"]), _short(one["papers"]), one["use"]))
    print_line(f"{table(rows)}\n\n{_COST}; mjx-sac algorithms NAME says more")


def _describe(name: str, whole: bool) -> dict[str, Any]:
    """Return what there is to say of an algorithm; its fields where it is to be `whole`."""
    packaged, said = PACKAGED[name], describe(name)
    found = {"algorithm": name, "summary": said.summary, "papers": said.papers}
    found |= {"update": packaged.cost, "use": packaged.use}
    if whole:
        changed, own = differences(loader.config_class(name))
        found |= {"other_defaults": changed, "own_flags": own}
    return found


def _short(papers: tuple[str, ...]) -> str:
    """Return authors, year and number of the first paper, such as `Lee et al., 2025, arXiv:...`."""
    authors, year, title = papers[0].rstrip(".").split(", ", 2)
    arxiv = re.search(r"arXiv:[\d.]+\d", title)
    return f"{authors}, {year}, {arxiv[0] if arxiv else title}"


def _details(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield lines, each with a label."""
    yield "what", one["summary"]
    for i, paper in enumerate(one["papers"]):
        yield "" if i else "papers", paper
    yield "update", f"{number(one['update'])} times SAC's arithmetic per iteration, for HalfCheetah"
    yield "use", one["use"]
    for i, (field, value) in enumerate(one["other_defaults"].items()):
        usual = show(Config.model_fields[field].default)
        yield "" if i else "defaults", f"--{field} {show(value)}   (SAC's {usual})"
    for i, (field, value) in enumerate(one["own_flags"].items()):
        yield "" if i else "own flags", f"--{field} {show(value)}"
