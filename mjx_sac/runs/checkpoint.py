"""Write and restore checkpoints: Orbax commits them, `array_store` holds them; no pickles.

A checkpoint is a directory named by iterations, with two parts: `state`, all that a run needs to
resume, and `policy`, what acting needs.
"""

# pyright: basic
import contextlib
import dataclasses
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs import array_store, resolve
from mjx_sac.runs.directory import ITEMS, OTHERWISE, checkpoint_path, steps
from mjx_sac.runs.resolve import Run
from mjx_sac.types import named_leaves

_DELETING = "deleting-"

_log = logging.getLogger("absl")

Arrays = dict[str, np.ndarray]


class _Handler(ocp.AsyncCheckpointHandler):
    """Writes one part of a checkpoint in the background; `written`: sizes and seconds."""

    def __init__(self) -> None:
        self.written: tuple[array_store.Written, float] | None = None
        self._pool = ThreadPoolExecutor(1)

    async def async_save(self, directory: Any, args: "_Save") -> list[Any]:
        return [self._pool.submit(self.save, directory, args)]

    def save(self, directory: Any, args: "_Save") -> None:
        started = time.perf_counter()
        written = array_store.write(Path(directory), args.arrays, args.header, args.older)
        self.written = (written, time.perf_counter() - started)

    def restore(self, directory: Any, args: Any = None) -> Arrays:
        return dict(array_store.read(Path(directory)))

    def close(self) -> None:
        self._pool.shutdown()


@ocp.args.register_with_handler(_Handler, for_save=True)
@dataclasses.dataclass
class _Save(ocp.args.CheckpointArgs):
    arrays: Arrays
    header: dict[str, Any]
    older: Path | None  # an older checkpoint's part, to link unchanged files from


@ocp.args.register_with_handler(_Handler, for_restore=True)
@dataclasses.dataclass
class _Restore(ocp.args.CheckpointArgs):
    """Orbax wants one for every handler."""


class Checkpoints:
    """The checkpoints of one run, written in the background."""

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
        self._handlers = {name: _Handler() for name in ITEMS}
        self._stalled = 0.0
        self._log_level = _log.level
        self._manager = self._make_manager() if writes else None

    def _make_manager(self) -> ocp.CheckpointManager:
        self._path.mkdir(parents=True, exist_ok=True)
        _log.setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what we report
        first_only = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        options = ocp.CheckpointManagerOptions(
            create=False,
            cleanup_tmp_directories=True,
            lightweight_initialize=True,
            # Otherwise our handler would have to wait for the directory it writes into.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            multiprocessing_options=first_only,
        )
        for left in self._path.glob(f"{_DELETING}*"):  # by a process killed while deleting
            shutil.rmtree(left, ignore_errors=True)
        return ocp.CheckpointManager(self._path, options=options, item_handlers={**self._handlers})

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
        if self._manager is None:
            return
        saves = {name: _Save(arrays[name], header, self._older(name)) for name in ITEMS}
        with self._failing():
            saved = self._manager.save(iterations, args=ocp.args.Composite(**saves))
        if not saved:
            raise self._error(f"was not written at {iterations:,} iterations: a later one is there")
        self._stalled = time.perf_counter() - started

    def _older(self, item: str) -> Path | None:
        """Return the checkpoint that the next one shares files with.

        Never the one right before it, which must survive damage to the newest, unless only one is
        kept.
        """
        there = steps(self._directory)
        behind = min(2, self._max_to_keep)
        return self._path / str(there[-behind]) / item if len(there) >= behind else None

    @property
    def cost(self) -> dict[str, float]:
        """Metrics of the newest checkpoint on disk; empty before the first.

        Bytes, bytes that no older one had, seconds of writing in the background, and seconds for
        which training stood still: for the copy to the host and the checkpoint before.
        """
        written = [handler.written for handler in self._handlers.values() if handler.written]
        if len(written) < len(self._handlers):
            return {}
        return {
            "checkpoint/bytes": float(sum(sizes.total for sizes, _ in written)),
            "checkpoint/new_bytes": float(sum(sizes.new for sizes, _ in written)),
            "checkpoint/seconds": max(seconds for _, seconds in written),
            "checkpoint/stall_seconds": self._stalled,
        }

    def wait(self) -> None:
        """Return when all that was saved is on disk, or raise TrainingError."""
        if self._manager is None:
            return
        with self._failing():
            self._manager.wait_until_finished()
        there = steps(self._directory)
        for renamed in (*(self._path / str(step) for step in there[-1:]), self._path):
            array_store.sync(renamed)
        for step in there[: -self._max_to_keep]:
            # Renamed first, as Orbax does not: a kill then leaves nothing like a checkpoint.
            leaving = self._path / f"{_DELETING}{step}"
            with contextlib.suppress(OSError):  # the next save tries again
                (self._path / str(step)).replace(leaving)
                shutil.rmtree(leaving)

    def finish(self, iterations: int) -> None:
        """Return when all is on disk; TrainingError unless the newest is that of `iterations`."""
        self.wait()
        if self._manager and iterations not in (0, *steps(self._directory)[-1:]):
            raise self._error(f"is not there any more: that of {iterations:,} iterations was saved")

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"({error.strerror or error}); those before are intact"
            raise self._error(f"cannot be written {reason}") from error

    def _error(self, problem: str) -> TrainingError:
        return TrainingError(f"checkpoint in {self._path} {problem}")

    def close(self) -> None:
        """Stop background threads. Write errors were already raised by `save` or `wait`."""
        with contextlib.suppress(OSError):
            if self._manager:
                self._manager.close()
        for handler in self._handlers.values():
            handler.close()
        _log.setLevel(self._log_level)


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
