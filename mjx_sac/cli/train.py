"""`mjx-sac train`."""

from typing import Annotated

from mjx_sac.cli.flags import ConfigFile, Flags, Overwrite, option
from mjx_sac.runs import resolve
from mjx_sac.training.host.console import print_line


def train(
    flags: Flags,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
    fallback: Annotated[
        bool,
        option(
            "resume from an older checkpoint if the newest is damaged", "--fallback", panel="Run"
        ),
    ] = False,
) -> None:
    """Train, resuming the run that is there.

    Example: mjx-sac train --env ant --iterations 1_000_000 --logdir runs/ant
    """
    found = flags.found  # has read `config`
    resolved = resolve.configure(found, flags.given)
    run = resolve.attach_at(resolved, found.step, found.manifest)
    if run.latest is not None and run.latest >= resolved.iterations:
        print(
            f"{run.directory} is finished: {run.latest:,} of {resolved.iterations:,} iterations "
            f"are done. A larger --iterations resumes it; --overwrite restarts."
        )
        return
    if not resolved.process_id:  # one of several processes speaks
        print_line(
            f"training {resolved.env} for {resolved.iterations:,} iterations into {run.directory}"
        )
    from mjx_sac.training.host import train as host

    losses = None if resolved.losses else flags.losses
    host.train(run, losses=losses, overwrite=overwrite, fallback=fallback)
