"""`mjx-sac envs`: what can be trained on."""

import json
from typing import Annotated

from mjx_sac.cli.flags import Json, option
from mjx_sac.cli.output import table
from mjx_sac.config import UsageError
from mjx_sac.training.host.console import print_line


def envs(
    search: Annotated[str, option("only names that contain it", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """List all environments.

    With their engine, sizes of observation and action, and what is missing to use them. Those on
    the device take seconds each to build: their sizes are shown where at most 3 are listed.

    Example: mjx-sac envs --search ant
    """
    from mjx_sac.envs import catalog

    found = catalog.rows(search)
    if as_json:
        return print_line(json.dumps([row._asdict() for row in found], indent=1))
    if not found:
        raise UsageError(f"search = {search!r}: no environment's name contains it: leave it out")
    rows = [("env", "observation", "action", "engine", "missing")]
    for row in found:
        sizes = ["-" if n is None else str(n) for n in (row.observation_size, row.action_size)]
        rows.append((row.env, sizes[0], sizes[1], row.engine, row.missing.partition(",")[0]))
    print_line(table(rows))
