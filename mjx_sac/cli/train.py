"""`mjx-sac train`."""

from mjx_sac.cli.flags import ConfigFile, Fallback, Flags, Overwrite
from mjx_sac.runs import resolve
from mjx_sac.training.host.console import print_line


def train(
    flags: Flags,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
    fallback: Fallback = False,
) -> None:
    """Train, resuming the run that is there.

    Example: mjx-sac train --env ant --iterations 1_000_000 --logdir runs/ant
    """
    found = flags.found  # has read `config`
    resolved = resolve.configure(found, flags.given)
    run = resolve.attach_at(resolved, found.step, found.manifest)
    if run.latest is not None and run.latest >= resolved.iterations:
        done = f"{run.latest:,} of {resolved.iterations:,} iterations are done"
        way_on = "A larger --iterations resumes it; --overwrite restarts."
        return print_line(f"{run.directory} is finished: {done}. {way_on}")
    if not resolved.process_id:  # one of several processes speaks
        count = f"{resolved.iterations:,} iterations"
        print_line(f"training {resolved.env} for {count} into {run.directory}")
    from mjx_sac.training.host import train as host

    losses = None if resolved.losses else flags.losses
    host.train(run, losses=losses, overwrite=overwrite, fallback=fallback)
