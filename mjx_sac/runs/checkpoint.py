"""Checkpoints through Orbax: everything a run needs to go on, and apart from it the policy. Nothing is pickled."""

# pyright: basic
import contextlib
import dataclasses
import logging
import pathlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mjx_sac import processes, provenance, rundir, snapshot, spread
from mjx_sac.config import Config, TrainingError, UsageError
from mjx_sac.trainer import RunState
from mjx_sac.types import named_leaves

_DELETING = "deleting-"

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what it raises too, and we say in one line


class _Handler(ocp.AsyncCheckpointHandler):
    """One item of a checkpoint as a snapshot, written in the background.

    Attributes:
      older: the item to link unchanged files from.
      written: sizes and seconds of the last write.
    """

    def __init__(self) -> None:
        self.older: pathlib.Path | None = None
        self.written: tuple[snapshot.Written, float] | None = None
        self._pool = ThreadPoolExecutor(1)

    async def async_save(self, directory: Any, args: "_Save") -> list[Any]:
        return [self._pool.submit(self.save, directory, args)]

    def save(self, directory: Any, args: "_Save") -> None:
        started = time.perf_counter()
        written = snapshot.write(pathlib.Path(directory), args.arrays, args.header, self.older)
        self.written = (written, time.perf_counter() - started)

    def restore(self, directory: Any, args: Any = None) -> dict[str, np.ndarray]:
        return dict(snapshot.read(pathlib.Path(directory)))

    def close(self) -> None:
        self._pool.shutdown()


@ocp.args.register_with_handler(_Handler, for_save=True)
@dataclasses.dataclass
class _Save(ocp.args.CheckpointArgs):
    arrays: dict[str, np.ndarray]
    header: dict[str, Any]


@ocp.args.register_with_handler(_Handler, for_restore=True)
@dataclasses.dataclass
class _Restore(ocp.args.CheckpointArgs):
    """Orbax wants one for every handler."""


class Checkpoints:
    """The checkpoints of one run, named by iterations. Writing happens in the background."""

    def __init__(self, directory: pathlib.Path, config: Config, spaces: dict[str, Any]) -> None:
        """`spaces` are the environment's, see `envs.base.spaces`."""
        self._path = (directory / "checkpoints").absolute()
        self._handlers = {name: _Handler() for name in rundir.ITEMS}
        self._max_to_keep, self._description = config.max_to_keep, {**provenance.description(config), "spaces": spaces}
        self._stalled = 0.0
        self._manager = self._make_manager() if processes.primary() else None

    def _make_manager(self) -> ocp.CheckpointManager:
        self._path.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            create=False,
            cleanup_tmp_directories=True,
            lightweight_initialize=True,
            # Or our handler would have to know how to wait for the directory it writes into.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        for left in self._path.glob(f"{_DELETING}*"):  # by a process that was killed over it
            shutil.rmtree(left, ignore_errors=True)
        return ocp.CheckpointManager(self._path, options=options, item_handlers=dict(self._handlers))

    def save(self, iterations: int, state: RunState, returns: np.ndarray | None = None) -> None:
        """Copies the state to the host and has it written; `state` may be donated as soon as this returns. All processes must call
        it, and process 0 writes.

        Args:
          iterations: names the checkpoint.
          state: what to keep.
          returns: of every agent of a population, by which its best one is known.

        Raises:
          TrainingError: this or the checkpoint before could not be written.
        """
        started = time.perf_counter()
        self.wait()
        policy = {"actor_params": state.train.actor_params, "normalizer": state.normalizer}
        scores = None if returns is None else [float(score) if np.isfinite(score) else None for score in returns]
        header = {"iterations": iterations, "returns": scores, **self._description}
        items = {
            name: _Save(spread.fetch(named_leaves(tree)), header) for name, tree in zip(rundir.ITEMS, (state, policy), strict=True)
        }
        if self._manager is None:
            return
        for name, handler in self._handlers.items():
            handler.older = self._older(name)
        try:
            self._manager.save(iterations, args=ocp.args.Composite(**items))
        except OSError as error:
            raise self._failed(error) from error
        self._stalled = time.perf_counter() - started

    def _older(self, item: str) -> pathlib.Path | None:
        """The checkpoint that the next one shares files with.

        Never the one right before it, which must survive damage to the newest, unless no more than one is kept.
        """
        steps = rundir.steps(self._path.parent)
        behind = min(2, self._max_to_keep)
        return self._path / str(steps[-behind]) / item if len(steps) >= behind else None

    @property
    def cost(self) -> dict[str, float]:
        """Of the newest checkpoint on disk: bytes, bytes among them that no older one had, seconds that writing took in the
        background, seconds that training stood still for the copy to the host and the checkpoint before.
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

    def restore(self, iterations: int, like: RunState, shardings: Any = None) -> RunState:
        """The state saved at `iterations`.

        Args:
          iterations: the checkpoint.
          like: a `RunState` (of arrays or shapes) such as the run would start with.
          shardings: where its parts are to lie; left out, on the default device.

        Raises:
          UsageError: it is damaged, or was saved by another environment or other networks: every differing array is named.
        """
        path = self._path / str(iterations)
        try:
            found = {
                name: (tuple(leaf["shape"]), leaf["dtype"]) for name, leaf in snapshot.manifest(path / "state")["leaves"].items()
            }
            _compare(path, {name: (x.shape, np.dtype(x.dtype).name) for name, x in named_leaves(like)}, found)
            where = dict(named_leaves(jax.tree.broadcast(shardings, like))) if shardings else {}
            arrays = {name: spread.place(x, where.get(name)) for name, x in snapshot.read(path / "state")}
        except snapshot.DamagedError as error:
            raise rundir.damaged(error) from None
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name, _ in named_leaves(like)])

    def wait(self) -> None:
        """Returns when everything saved so far is on disk.

        Raises:
          TrainingError: it cannot be written.
        """
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise self._failed(error) from error
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        """Renamed first (Orbax does not): a process that is killed meanwhile leaves nothing that looks like a checkpoint."""
        for step in rundir.steps(self._path.parent)[: -self._max_to_keep]:
            leaving = self._path / f"{_DELETING}{step}"
            with contextlib.suppress(OSError):  # the next save tries again
                (self._path / str(step)).replace(leaving)
                shutil.rmtree(leaving)

    def _failed(self, error: OSError) -> TrainingError:
        return TrainingError(f"checkpoint in {self._path} cannot be written ({error.strerror or error}); those before are intact")

    def close(self) -> None:
        """Lets go of Orbax's threads. What could not be written `save` or `wait` has told."""
        with contextlib.suppress(OSError):
            if self._manager:
                self._manager.close()
        for handler in self._handlers.values():
            handler.close()


def _compare(path: pathlib.Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    differing = [
        f"{name} is {_show(found.get(name))}, this run's {_show(wanted.get(name))}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        more = f" and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UsageError(
            f"checkpoint {path} does not fit: {'; '.join(differing[:8])}{more}: choose another --logdir, or start anew "
            f"with --overwrite"
        )


def _show(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if leaf is None else f"{leaf[1]}{list(leaf[0])}"
