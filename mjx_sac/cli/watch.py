"""`mjx-sac watch`: a run as it goes on, seen from another terminal."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Annotated, Any

from mjx_sac.cli.flags import RunDirectory, option
from mjx_sac.training.host.console import clock, print_line

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48


def watch(
    run: RunDirectory,
    every: Annotated[float, option("seconds between two looks", min=0.1)] = 2.0,
) -> None:
    """Watch a run that another process trains, until Ctrl-C: progress, returns, rates, health.

    Where no person looks on it looks once.

    Example: mjx-sac watch runs/ant
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from mjx_sac.runs.info import inspect

    def look() -> str:
        return "\n".join(lines(inspect(run), time.time()))

    console = Console()
    if not console.is_terminal:
        return print_line(look())
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Text(look(), no_wrap=True), refresh=True)
            time.sleep(every)


def lines(found: dict[str, Any], now: float) -> Iterator[str]:
    """Yield what is shown of a run as `runs.info.inspect` has `found` it at the time `now`."""
    counts, speed = found["iterations"], found["iterations_per_second"]
    share = min(1.0, counts["logged"] / counts["total"])
    done = round(share * _WIDTH)
    yield f"{found['run']}: {found['env']}, {found['config'].get('algorithm', 'sac')}"
    yield f"progress     {'█' * done}{'░' * (_WIDTH - done)} {share:.0%}"
    left = (counts["total"] - counts["logged"]) / speed if speed and share < 1 else None
    rest = f", {clock(left, with_hours=True)} left" if left else ""
    yield f"             {counts['logged']:,} of {counts['total']:,} iterations{rest}"
    for tag, curve in found["returns"].items():
        if "std" not in tag:
            values = [*curve.values()]
            last, best = values[-1], max(values)
            name = tag.partition("/")[0]
            yield f"{name:<12} {sparkline(values)} {last:,.1f} (best {best:,.1f})"
    if rates := [*found["rates"].values()]:
        yield f"iterations/s {sparkline(rates)} {rates[-1]:,.0f}"
    yield f"checkpoint   {counts['saved']:,} iterations, {len(found['checkpoints'])} kept"
    written = found["last_written"]
    silence = f", last logged {clock(now - written, with_hours=True)} ago" if written else ""
    yield f"process      {found['trained_by'] or 'none trains there now'}{silence}"
    yield f"health       {', '.join(_complaints(found)) or 'all numbers are finite'}"


def sparkline(values: list[float]) -> str:
    """Return a curve in a line of text, at most `_WIDTH` wide; of several values a mean."""
    n = len(values)
    chunks = [values[i * n // _WIDTH : (i + 1) * n // _WIDTH] for i in range(_WIDTH)]
    means = [math.fsum(chunk) / len(chunk) for chunk in chunks if chunk]
    low, high = min(means), max(means)
    steps = ((x - low) / (high - low or 1) * (len(_BARS) - 1) for x in means)
    return "".join(_BARS[round(step)] for step in steps)


def _complaints(found: dict[str, Any]) -> Iterator[str]:
    for tag in ("health/nonfinite_steps", "health/nonfinite_parameters"):
        if count := found["health"].get(tag):
            yield f"{count:,.0f} {tag.partition('/')[2].replace('_', ' ')} in the last epoch"
    for checkpoint in found["checkpoints"]:
        if checkpoint["damaged"]:
            yield f"checkpoint {checkpoint['iterations']:,} is damaged"
