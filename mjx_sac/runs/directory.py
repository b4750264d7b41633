"""A run's directory: what lies where, who may write there."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

from mjx_sac.config import Config, UsageError, agent_names
from mjx_sac.runs import provenance

ITEMS = ("state", "policy")
"""The parts of a checkpoint: what a run needs to resume, and what acting needs."""
OTHERWISE = "choose another --logdir, or restart with --overwrite"

# In this order: half-removed checkpoints must not look like a run.
_OURS = ("kwargs.json", "checkpoints", "best", "tracking", "films")
_OF_THE_RUN = ("config", "env_config", "dataset_sha256", "history")


def steps(directory: Path) -> list[int]:
    """Return iterations of all complete checkpoints, oldest first; unfinished have no number."""
    return sorted(int(p.name) for p in (directory / "checkpoints").glob("*") if p.name.isdigit())


def checkpoint_path(directory: Path, step: int) -> Path:
    """Return where the checkpoint at `step` iterations lies."""
    return directory / "checkpoints" / str(step)


def best_path(directory: Path) -> Path:
    """Return where the best policy by evaluation lies, if a run has evaluated."""
    return directory / "best" / "policy"


@contextlib.contextmanager
def lock(directory: Path) -> Generator[None]:
    """Hold a run's directory, making it if need be; released when the process ends, however.

    Raises:
      UsageError: the directory cannot be made, or another process holds it.
    """
    new = not directory.exists()
    create(directory)
    path = directory / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "(unknown)"
            problem = f"logdir = {str(directory)!r}: process {holder} trains there"
            way_out = "wait for it, stop it, or choose another --logdir"
            raise UsageError(f"{problem}: {way_out}") from None
        file.truncate(0)
        print(f"{os.getpid()} on {socket.gethostname()}", file=file, flush=True)
        try:
            yield
        finally:
            if new and [*directory.iterdir()] == [path]:  # training never began: leave nothing
                path.unlink()
                directory.rmdir()


def holder(directory: Path) -> str | None:
    """Return which process trains in a run's directory; None if none does."""
    with contextlib.suppress(OSError), (directory / "lock").open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "(unknown)"
    return None


def create(directory: Path) -> None:
    """Make the run's directory, or raise UsageError: permissions do not show all, as in /proc."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(directory, error.strerror) from None


def check_writable(directory: Path) -> None:
    """Raise UsageError where `directory` could not be made or written to; writes nothing."""
    existing = directory
    try:
        str(directory).encode()
    except UnicodeEncodeError:  # checkpoints name their paths
        raise _unusable(directory, "is no text in UTF-8, or in the shell's encoding") from None
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise _unusable(directory, error.strerror) from None
    if not existing.is_dir():
        raise _unusable(directory, f"{existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _unusable(directory, f"{existing} cannot be written to")


def _unusable(directory: Path, reason: str | None) -> UsageError:
    return UsageError(f"logdir = {str(directory)!r}: {reason}: choose another --logdir")


def set_aside(directory: Path, damaged: Iterable[int]) -> None:
    """Rename damaged checkpoints, so that the run can save there again and nothing is lost."""
    for step in damaged:
        path = checkpoint_path(directory, step)
        target = path.with_name(f"damaged-{step}")
        while target.exists():  # the same iterations were damaged before
            target = target.with_name(f"{target.name}-again")
        path.replace(target)


def clear(directory: Path) -> None:
    """Remove an older run: its checkpoints, event files and `kwargs.json`, and nothing else."""
    names: tuple[str, ...] = ()
    with contextlib.suppress(Exception):  # no kwargs.json, or an unreadable one: no population
        text = (directory / "kwargs.json").read_text(encoding="utf-8")
        names = agent_names(json.loads(text)["config"])
    for name in names:
        clear(directory / name)
        with contextlib.suppress(OSError):  # it has files of the user's
            (directory / name).rmdir()
    ours = [directory / name for name in _OURS]
    for path in [*ours, *directory.glob("events.out.tfevents.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_kwargs(
    config: Config,
    directory: Path,
    begun: int = 0,
    own: Mapping[str, Any] | None = None,
) -> None:
    """Write `kwargs.json`, `provenance.description` for people and scripts.

    Its "history" has the software of every part of the run, from which iterations on: of the one
    that begins here at `begun`, and of those before. A run resumes from its checkpoints alone. Each
    agent of a population has its own. `own` as in `provenance.description`.
    """
    described = provenance.description(config, own)
    part = {"iterations": begun, **{k: x for k, x in described.items() if k not in _OF_THE_RUN}}
    history = _history(directory, begun)
    if not history or {**history[-1], "iterations": begun} != part:
        history.append(part)
    described["history"] = history
    # A single agent has no name.
    agents = zip(config.agent_names(), config.population(), strict=False)
    for name, its_config in [("", config), *agents]:
        create(directory / name)
        temporary = directory / name / "kwargs.json.tmp"
        body = {**described, "config": its_config.model_dump(mode="json")}
        temporary.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory / name / "kwargs.json")  # atomic: the old file or the new one


def _history(directory: Path, begun: int) -> list[dict[str, Any]]:
    """Return the parts before `begun` in the `kwargs.json` that is there; older ones have one."""
    with contextlib.suppress(OSError, ValueError, AttributeError, LookupError, TypeError):
        found = json.loads((directory / "kwargs.json").read_text(encoding="utf-8"))
        facts = {k: x for k, x in found.items() if k not in _OF_THE_RUN}
        parts = found.get("history") or [{"iterations": 0, **facts}]
        return [part for part in parts if part["iterations"] < begun]
    return []
