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
    run = resolve.attach_at(resolved, found.directory, found.step, found.manifest)
    if run.finished:
        return print_line(f"{resolved.run_dir} is finished: {run.finished}; --overwrite restarts.")
    if not resolved.process_id:  # one of several processes speaks
        count = f"{resolved.iterations:,} iterations"
        print_line(f"training {resolved.env} for {count} into {resolved.run_dir}")
    from mjx_sac.training.host import train as host

    losses = flags.losses if resolved.algorithm == "sac" else None
    host.train(run, losses=losses, overwrite=overwrite, fallback=fallback)
