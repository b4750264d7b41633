"""`mjx-sac envs`: what can be trained on."""

import json
from typing import Annotated

import typer

from mjx_sac.config import UsageError
from mjx_sac.training.host.console import print_line


def envs(
    search: Annotated[
        str, typer.Option(help="only names that contain it", metavar="TEXT", show_default=False)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """List all environments.

    With their engine, sizes of observation and action, and what is missing to use them. Those on the device take seconds
    each to build: their sizes are told where at most 3 are listed.

    Example: mjx-sac envs --search ant
    """
    from mjx_sac.envs import catalog

    rows = catalog.rows(search)
    if as_json:
        print_line(json.dumps([row._asdict() for row in rows], indent=1))
        return
    if not rows:
        raise UsageError(
            f"search = {search!r}: no environment's name contains it; `mjx-sac envs` lists all"
        )
    lines = [("env", "observation", "action", "engine", "missing")]
    lines += [
        (
            r.env,
            _size(r.observation_size),
            _size(r.action_size),
            r.engine,
            r.missing.partition(",")[0],
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for name, observation, action, engine, missing in lines:
        text = f"{name:{widths[0]}}  {observation:>{widths[1]}}  {action:>{widths[2]}}  {engine:{widths[3]}}  {missing}"
        print_line(text.rstrip())


def _size(size: int | None) -> str:
    return "-" if size is None else str(size)
