"""`mjx-sac push` and `mjx-sac pull`: runs shared on the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from mjx_sac.cli.flags import RunDirectory, option
from mjx_sac.runs import hub
from mjx_sac.training.host.console import print_line

_Name = Annotated[str, typer.Argument(help="whose and what on the hub", metavar="USER/NAME")]
_Target = Annotated[Path | None, typer.Argument(help="else runs/NAME", metavar="DIR")]
_WHOLE = "with the newest checkpoint: critics, optimizers, replay buffer"
_TRUST = "also a run that names code: an algorithm's file, a module, a function"


def push(
    run: RunDirectory,
    name: _Name,
    checkpoint: Annotated[bool, option(_WHOLE, "--checkpoint")] = False,
    private: Annotated[bool, option("show it to you alone, if it is new", "--private")] = False,
) -> None:
    """Share a run's policy, the newest and the best by evaluation, on the Hugging Face Hub.

    With them go its curves, and a card that says how good it is and how to use and train it.

    Example: mjx-sac push runs/ant user/ant
    """
    from mjx_sac.runs import card

    print_line(card.push(run, name, checkpoint=checkpoint, private=private))
    print_line(f"mjx-sac eval {hub.PREFIX}{name}")


def pull(
    name: _Name,
    target: _Target = None,
    trust_code: Annotated[bool, option(_TRUST, "--trust_code")] = False,
) -> None:
    """Copy a run from the Hugging Face Hub; `hub:USER/NAME` in place of RUN needs no copy.

    Example: mjx-sac pull user/ant runs/ant
    """
    target = target or Path("runs") / name.rpartition("/")[2]
    hub.pull(name, target, trust_code=trust_code)
    print_line(f"mjx-sac info {target}")
