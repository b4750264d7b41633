"""Write and restore checkpoints: Orbax commits them, `array_store` holds them; no pickles.

A checkpoint is a directory named by iterations, with two parts: `state`, all that a run needs to
resume, and `policy`, what acting needs.
"""

# pyright: basic
import contextlib
import dataclasses
import logging
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import ITEMS, checkpoint_path, steps
from mjx_sac.types import named_leaves

_DELETING = "deleting-"

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what we report

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
        written = array_store.write(pathlib.Path(directory), args.arrays, args.header, args.older)
        self.written = (written, time.perf_counter() - started)

    def restore(self, directory: Any, args: Any = None) -> Arrays:
        return dict(array_store.read(pathlib.Path(directory)))

    def close(self) -> None:
        self._pool.shutdown()


@ocp.args.register_with_handler(_Handler, for_save=True)
@dataclasses.dataclass
class _Save(ocp.args.CheckpointArgs):
    arrays: Arrays
    header: dict[str, Any]
    older: pathlib.Path | None  # an older checkpoint's part, to link unchanged files from


@ocp.args.register_with_handler(_Handler, for_restore=True)
@dataclasses.dataclass
class _Restore(ocp.args.CheckpointArgs):
    """Orbax wants one for every handler."""


class Checkpoints:
    """The checkpoints of one run, written in the background."""

    def __init__(
        self,
        directory: pathlib.Path,
        max_to_keep: int,
        header: Mapping[str, Any],
        *,
        fetch: Callable[[Iterable[tuple[str, Any]]], Arrays] = dict,
        writes: bool = True,
    ) -> None:
        """Prepare to write.

        Args:
          directory: the run's.
          max_to_keep: checkpoints.
          header: what every manifest says, for JSON.
          fetch: copies named arrays to the host; all processes call it.
          writes: False for processes that only send their parts.
        """
        self._directory, self._path = directory, (directory / "checkpoints").absolute()
        self._max_to_keep, self._header, self._fetch = max_to_keep, header, fetch
        self._handlers = {name: _Handler() for name in ITEMS}
        self._stalled = 0.0
        self._manager = self._make_manager() if writes else None

    def _make_manager(self) -> ocp.CheckpointManager:
        self._path.mkdir(parents=True, exist_ok=True)
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
        handlers = dict(self._handlers)
        return ocp.CheckpointManager(self._path, options=options, item_handlers=handlers)

    def save(
        self, iterations: int, items: Mapping[str, Any], returns: Iterable[float] = ()
    ) -> None:
        """Copy to the host and write in the background; what is saved may then be donated.

        All processes must call it.

        Args:
          iterations: names the checkpoint.
          items: "state" and "policy", each a pytree of arrays.
          returns: of each agent, by which the best is known.

        Raises:
          TrainingError: this checkpoint or the one before could not be written.
        """
        started = time.perf_counter()
        self.wait()
        known = [x if np.isfinite(x) else None for x in map(float, returns)]
        header = {"iterations": iterations, "returns": known or None, **self._header}
        arrays = {name: self._fetch(named_leaves(items[name])) for name in ITEMS}
        if self._manager is None:
            return
        saves = {name: _Save(arrays[name], header, self._older(name)) for name in ITEMS}
        with self._failing():
            self._manager.save(iterations, args=ocp.args.Composite(**saves))
        self._stalled = time.perf_counter() - started

    def _older(self, item: str) -> pathlib.Path | None:
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
        """Return when everything saved so far is on disk.

        Raises:
          TrainingError: it cannot be written.
        """
        if self._manager is None:
            return
        with self._failing():
            self._manager.wait_until_finished()
        for step in steps(self._directory)[: -self._max_to_keep]:
            # Renamed first, as Orbax does not: a kill then leaves nothing like a checkpoint.
            leaving = self._path / f"{_DELETING}{step}"
            with contextlib.suppress(OSError):  # the next save tries again
                (self._path / str(step)).replace(leaving)
                shutil.rmtree(leaving)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error}); those before are intact"
            raise TrainingError(f"checkpoint in {self._path} {problem}") from error

    def close(self) -> None:
        """Stop background threads. Write errors were already raised by `save` or `wait`."""
        with contextlib.suppress(OSError):
            if self._manager:
                self._manager.close()
        for handler in self._handlers.values():
            handler.close()


def restore(
    directory: pathlib.Path,
    step: int,
    like: Any,
    place: Callable[[str, np.ndarray], Any],
    manifest: dict[str, Any] | None = None,
) -> Any:
    """Return the state saved at `step` iterations; every file of the checkpoint is verified.

    Args:
      directory: the run's.
      step: iterations of the checkpoint.
      like: a pytree of arrays or shapes such as the run would start with.
      place: puts a named array where the run needs it.
      manifest: of the state, where it has been read already.

    Raises:
      UsageError: another environment or other networks saved it: differing arrays are named.
      array_store.DamagedError: a file of it is not what was written.
    """
    path = checkpoint_path(directory, step)
    array_store.verify(path / "policy")
    manifest = manifest or array_store.manifest(path / "state")
    leaves = {_renamed(name): leaf for name, leaf in manifest["leaves"].items()}
    found = {name: (tuple(leaf["shape"]), leaf["dtype"]) for name, leaf in leaves.items()}
    wanted = {name: (x.shape, np.dtype(x.dtype).name) for name, x in named_leaves(like)}
    _compare(path, wanted, found)
    stored = ((_renamed(name), x) for name, x in array_store.read(path / "state", manifest))
    arrays = {name: place(name, x) for name, x in stored}
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


def _renamed(name: str) -> str:
    """Return an array's name today; older checkpoints have `numbers.tau`, say."""
    return re.sub(r"^numbers\.", "hyperparameters.", name)


def _compare(path: pathlib.Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    differing = [
        f"{name} is {_describe(found.get(name))}, this run's {_describe(wanted.get(name))}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        more = f" and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UsageError(
            f"checkpoint {path} does not fit: {'; '.join(differing[:8])}{more}: choose another "
            f"--logdir, or restart with --overwrite"
        )


def _describe(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if leaf is None else f"{leaf[1]}{list(leaf[0])}"
