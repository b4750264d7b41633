"""`mjx-sac push` and `mjx-sac pull`: runs shared on the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from mjx_sac.cli.flags import RunDirectory, option
from mjx_sac.cli.output import size
from mjx_sac.runs import hub
from mjx_sac.training.host.console import print_line

_Name = Annotated[str, typer.Argument(help="user/name on the hub", metavar="USER/NAME")]
_Target = Annotated[Path | None, typer.Argument(help="where to; else runs/<name>", metavar="DIR")]
_WHOLE = "with its newest checkpoint: critics, optimizers, replay buffer"
_TRUST = "also a run that names code: an algorithm's file, a module, a function"


def push(
    run: RunDirectory,
    name: _Name,
    checkpoint: Annotated[bool, option(_WHOLE, "--checkpoint")] = False,
    private: Annotated[bool, option("if the model is new, show it to you alone")] = False,
) -> None:
    """Share a run's policy on the Hugging Face Hub: the newest, and the best by evaluation.

    With them go its curves, and a card that says what it is and how to use it and train it again.

    Example: mjx-sac push runs/ant user/ant
    """
    from mjx_sac.runs import card

    stored, url, n = card.push(run, name, checkpoint=checkpoint, private=private or None)
    print_line(f"{url}: {stored.config.env} at {stored.iterations():,} iterations, {size(n)}")
    print_line(f"mjx-sac eval {hub.PREFIX}{name}")


def pull(
    name: _Name,
    out: _Target = None,
    trust_code: Annotated[bool, option(_TRUST, "--trust_code")] = False,
) -> None:
    """Copy a run from the Hugging Face Hub; `hub:USER/NAME` uses it without.

    Example: mjx-sac pull user/ant runs/ant
    """
    target = out or Path("runs") / name.rpartition("/")[2]
    hub.pull(name, target, trust_code=trust_code)
    print_line(f"{target}: `mjx-sac info {target}` says what there is")
