"""`mjx-sac envs`: what can be trained on."""

import json
from typing import TYPE_CHECKING, Annotated

from mjx_sac.cli.flags import Json, option
from mjx_sac.cli.output import table
from mjx_sac.config import UsageError
from mjx_sac.training.host.console import print_line

if TYPE_CHECKING:
    from mjx_sac.envs.catalog import Row


def envs(
    search: Annotated[str, option("only names that contain it", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """List all environments.

    With sizes of observation and action, steps of an episode (- is what --episode_length says),
    parts of a dictionary observation, whether a randomizer comes with it, engine, and what is
    missing to use it. Those on the device take seconds each to build: their sizes and parts are
    shown where at most 5 are listed.

    Example: mjx-sac envs --search ant
    """
    from mjx_sac.envs import catalog

    found = catalog.rows(search)
    if as_json:
        return print_line(json.dumps([row._asdict() for row in found], indent=1))
    if not found:
        raise UsageError(f"search = {search!r}: no environment's name contains it: leave it out")
    rows = [_cells(row) for row in found]
    used = [name for name in rows[0] if any(row[name] not in ("", "-") for row in rows)]
    print_line(table([used, *([row[name] for name in used] for row in rows)]))


def _cells(row: "Row") -> dict[str, str]:
    """Return what a row of the table shows, by column."""
    sizes = (row.observation_size, row.action_size, row.time_limit)
    observation, action, steps = ("-" if n is None else str(n) for n in sizes)
    return {
        "env": row.env,
        "observation": observation,
        "action": action,
        "steps": steps,
        "parts": ", ".join(f"{name} {size}" for name, size in (row.views or {}).items()),
        "randomizer": "yes" if row.randomizer else "",
        "engine": row.engine,
        "missing": row.missing.partition(",")[0],
    }
