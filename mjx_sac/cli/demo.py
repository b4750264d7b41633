"""`mjx-sac demo`: a trained policy that comes with the package, at work."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mjx_sac.cli.flags import option
from mjx_sac.cli.record import record
from mjx_sac.config import UsageError, absolute
from mjx_sac.runs import provenance, stored_policy
from mjx_sac.training.host.console import print_line

_DEMOS = Path(__file__).parents[1] / "policy" / "demos"
"""A run's directory each, of which only the policy is left."""


def demo(
    name: Annotated[str, typer.Argument(help="which", metavar="NAME")] = "halfcheetah",
    out: Annotated[Path | None, option("an .html, .mp4 or .gif; else NAME.html")] = None,
    seconds: Annotated[float, option("at most", min=0.1)] = 20.0,
    browser: Annotated[bool, option("open it in the browser", "--open/--no-open")] = True,
) -> None:
    """Play a trained policy that comes with the package, and say how it was trained.

    Example: mjx-sac demo
    """
    runs = {path.name: path for path in sorted(_DEMOS.iterdir())}
    if name not in runs:
        raise UsageError(f"name = {name!r}: no such demo: there is {', '.join(runs)}")
    out = out or Path(f"{name}.html")
    # Its algorithm may have changed since: a policy needs no more of it than its networks.
    record(str(runs[name]), out=out, seconds=seconds, edited_algorithm=True)
    config = stored_policy.find(runs[name], edited_algorithm=True).config
    print_line(f"trained by: {provenance.command(config)}")
    if browser:
        webbrowser.open(absolute(out).as_uri())
