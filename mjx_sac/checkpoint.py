"""Checkpoints: everything a run needs to go on, and apart from it the policy, through Orbax. Nothing is pickled."""

# pyright: basic
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mjx_sac.config import UsageError
from mjx_sac.trainer import RunState


class Checkpoints:
    """The checkpoints of one run, named by iterations. Writing happens in the background."""

    def __init__(self, directory: pathlib.Path, max_to_keep: int) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=max_to_keep, create=True)
        handlers = {name: ocp.StandardCheckpointHandler() for name in ("state", "policy")}
        path = (directory / "checkpoints").absolute()
        self._manager = ocp.CheckpointManager(path, options=options, item_handlers=handlers)

    def save(self, iterations: int, state: RunState) -> None:
        """Copies the state to the host and writes it; `state` may be donated as soon as this returns."""
        policy = {"actor_params": state.train.actor_params, "normalizer": state.normalizer}
        self._manager.save(
            iterations,
            args=ocp.args.Composite(state=ocp.args.StandardSave(_flatten(state)), policy=ocp.args.StandardSave(_flatten(policy))),
        )

    def restore(self, iterations: int, like: RunState) -> RunState:
        """The state saved at `iterations`.

        Args:
          iterations: the checkpoint.
          like: a `RunState` (of arrays or shapes) such as the run would start with.

        Raises:
          UsageError: it was saved by another environment or other networks: every differing array is named.
        """
        path = pathlib.Path(self._manager.directory) / str(iterations)
        saved = self._manager.item_metadata(iterations).state or {}
        wanted = {name: (leaf.shape, np.dtype(leaf.dtype).name) for name, leaf in _named(like).items()}
        found = {name: (leaf.shape, np.dtype(leaf.dtype).name) for name, leaf in saved.items()}
        _compare(path, wanted, found)
        template = {name: np.empty(shape, dtype) for name, (shape, dtype) in found.items()}
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        flat = self._manager.restore(iterations, args=args)["state"]
        # A copy that XLA owns: the epoch donates its input, and must not scribble over memory that NumPy holds.
        leaves = [jax.numpy.array(flat.get(name, np.zeros(x.shape, x.dtype)), copy=True) for name, x in _leaves(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def wait(self) -> None:
        """Returns when everything saved so far is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="."), x) for path, x in jax.tree.leaves_with_path(tree)]


def _named(tree: Any) -> dict[str, Any]:
    """What there is to save. MJX states have arrays of no elements, which Orbax refuses and nobody misses."""
    return {name: x for name, x in _leaves(tree) if x.size}


def _flatten(tree: Any) -> dict[str, np.ndarray]:
    """Host copies by name. On a CPU `np.asarray` would be the very memory that the next epoch overwrites."""
    return {name: np.array(x, copy=True) for name, x in _named(tree).items()}


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
