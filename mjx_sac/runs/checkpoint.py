"""Write and restore checkpoints, in the background; `array_store` holds them.

A checkpoint is a directory named by iterations, with two parts: `state`, all that a run needs to
resume, and `policy`, what acting needs. It is written under another name and renamed when all of it
is on the disk.
"""

# pyright: basic
import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs import array_store, resolve
from mjx_sac.runs.directory import ITEMS, OTHERWISE, checkpoint_path, steps
from mjx_sac.runs.resolve import Run
from mjx_sac.types import named_leaves

_DELETING, _WRITING = "deleting-", "writing-"
_LEFT = (f"{_DELETING}*", f"{_WRITING}*", "*.orbax-checkpoint-tmp*")
"""What a killed process leaves; the last of older versions."""

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of one run, written in the background.

    Attributes:
      cost: metrics of the newest on disk: bytes, bytes that no older one had, seconds of writing in
        the background, and seconds for which training stood still: for the copy to the host and
        the checkpoint before. Empty before the first.
    """

    def __init__(
        self,
        directory: Path,
        max_to_keep: int,
        header: Mapping[str, Any],
        *,
        fetch: Callable[[Iterable[tuple[str, Any]]], Arrays],
        writes: bool = True,
    ) -> None:
        """Prepare to write; every manifest says what is in `header`, which is for JSON.

        `fetch` copies named arrays to the host; all processes call it, also those that only send
        their parts: `writes` is False there.
        """
        self._directory, self._path = directory, (directory / "checkpoints").absolute()
        self._max_to_keep, self._header, self._fetch = max_to_keep, header, fetch
        self.cost: dict[str, float] = {}
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1) if writes else None
        if writes:
            self._path.mkdir(parents=True, exist_ok=True)
            for left in (path for pattern in _LEFT for path in self._path.glob(pattern)):
                shutil.rmtree(left, ignore_errors=True)

    def save(
        self, iterations: int, items: dict[str, Any], progress: Mapping[str, Any] | None = None
    ) -> None:
        """Copy pytrees by the names in `ITEMS` to the host, and write them in the background.

        All processes must call it; what is saved may then be donated. The manifests also say what
        is in `progress`, which is for JSON.

        Raises:
          TrainingError: this checkpoint or the one before could not be written.
        """
        started = time.perf_counter()
        self.wait()
        header = {"iterations": iterations, **(progress or {}), **self._header}
        arrays = {name: self._fetch(named_leaves(items[name])) for name in ITEMS}
        if self._pool is None:
            return
        if any(step >= iterations for step in steps(self._directory)):
            raise self._error(f"was not written at {iterations:,} iterations: a later one is there")
        stalled = time.perf_counter() - started
        self._writing = self._pool.submit(self._write, arrays, header, stalled)

    def _write(
        self, arrays: Mapping[str, Arrays], header: Mapping[str, Any], stalled: float
    ) -> None:
        started, iterations = time.perf_counter(), header["iterations"]
        unfinished, older = self._path / f"{_WRITING}{iterations}", self._older()
        shutil.rmtree(unfinished, ignore_errors=True)  # of an attempt that failed
        written = []
        try:
            for name in ITEMS:
                shared = older and older / name
                written.append(array_store.write(unfinished / name, arrays[name], header, shared))
        except OSError:  # a full disk has better use for the room
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        array_store.sync(unfinished)
        unfinished.replace(self._path / str(iterations))
        array_store.sync(self._path)
        self.cost = {
            "checkpoint/bytes": float(sum(total for total, _ in written)),
            "checkpoint/new_bytes": float(sum(new for _, new in written)),
            "checkpoint/seconds": time.perf_counter() - started,
            "checkpoint/stall_seconds": stalled,
        }

    def _older(self) -> Path | None:
        """Return the checkpoint that the next one shares files with.

        Never the one right before it, which must survive damage to the newest, unless only one is
        kept.
        """
        there = steps(self._directory)
        behind = min(2, self._max_to_keep)
        return self._path / str(there[-behind]) if len(there) >= behind else None

    def wait(self) -> None:
        """Return when all that was saved is on disk, or raise TrainingError."""
        if self._pool is None:
            return
        writing, self._writing = self._writing, None
        try:
            if writing:
                writing.result()
        except OSError as error:
            reason = f"({error.strerror or error}); those before are intact"
            raise self._error(f"cannot be written {reason}") from error
        for step in steps(self._directory)[: -self._max_to_keep]:
            # Renamed first: a kill then leaves nothing like a checkpoint.
            leaving = self._path / f"{_DELETING}{step}"
            with contextlib.suppress(OSError):  # the next save tries again
                (self._path / str(step)).replace(leaving)
                shutil.rmtree(leaving)

    def finish(self, iterations: int) -> None:
        """Return when all is on disk; TrainingError unless the newest is that of `iterations`."""
        self.wait()
        if self._pool and iterations not in (0, *steps(self._directory)[-1:]):
            raise self._error(f"is not there any more: that of {iterations:,} iterations was saved")

    def _error(self, problem: str) -> TrainingError:
        return TrainingError(f"checkpoint in {self._path} {problem}")

    def close(self) -> None:
        """Stop the background thread. Write errors were already raised by `save` or `wait`."""
        if self._pool:
            self._pool.shutdown()


def resume(
    run: Run, like: Any, place: Callable[[str, np.ndarray], Any], fallback: bool
) -> tuple[Run, Any]:
    """Return the state to resume from, None where the run begins, and the run it belongs to.

    With `fallback` that is the newest checkpoint of which every file is whole. See `restore`.
    """
    while run.latest is not None:
        try:
            return run, restore(run.directory, run.latest, like, place, run.manifest)
        except array_store.DamagedError as error:
            if not fallback:
                raise resolve.damaged(error) from None
            older = resolve.newest(run.directory, fallback=True, before=run.latest)
            run = resolve.attach_at(run.config, run.directory, *older, check_env=False)
    return run, None


def restore(
    directory: Path,
    step: int,
    like: Any,
    place: Callable[[str, np.ndarray], Any],
    manifest: dict[str, Any] | None = None,
) -> Any:
    """Return the state saved at `step` iterations; every file of the checkpoint is verified.

    It is a pytree as `like`, which has arrays or shapes such as the run would start with. `place`
    puts a named array where the run needs it. `manifest` is the state's, if it has been read.

    Raises:
      UsageError: another environment or other networks saved it: differing arrays are named.
      array_store.DamagedError: a file of it is not what was written.
    """
    path = checkpoint_path(directory, step)
    array_store.verify(path / "policy")
    manifest = manifest or array_store.manifest(path / "state")
    leaves = manifest["leaves"].items()
    shapes = {k: [] if k in _SHARED else x["shape"] for k, x in leaves}
    found = {_renamed(k): f"{x['dtype']}{shapes[k]}" for k, x in leaves}
    wanted = {k: f"{np.dtype(x.dtype).name}{list(x.shape)}" for k, x in named_leaves(like)}
    _compare(path, wanted, found)
    stored = ((_renamed(name), x) for name, x in array_store.read(path / "state", manifest))
    arrays = {name: place(name, x.flat[0] if name in _SHARED else x) for name, x in stored}
    for name, x in named_leaves(like):
        if name == _REPORTED and wanted[name] != found.get(name):
            arrays[name] = place(name, np.zeros(x.shape, x.dtype))
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


_SHARED = ("train.since_actor_update",)
"""Counters of all agents together, of which older checkpoints have one for each."""


_REPORTED = "episodes.metrics"
"""What environments have reported in their episodes: zeros where the checkpoint has nothing, or
other numbers, of that."""


def _renamed(name: str) -> str:
    """Return an array's name today; older checkpoints have `numbers.tau`, say."""
    return re.sub(r"^numbers\.", "hyperparameters.", name)


def _compare(path: Path, wanted: dict[str, str], found: dict[str, str]) -> None:
    differing = [
        f"{name} is {found.get(name, 'missing')}, this run's {wanted.get(name, 'missing')}"
        for name in sorted(dict(wanted.items() ^ found.items()).keys() - {_REPORTED})
    ]
    if differing:
        more = f" and {len(differing) - 8} more" if len(differing) > 8 else ""
        listed = "; ".join(differing[:8]) + more
        raise UsageError(f"checkpoint {path} does not fit: {listed}: {OTHERWISE}")
