"""Arrays that are spread over devices, and over processes: from the host onto them, and back."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

_SMALL, _CHUNK = 2**22, 2**26
"""Bytes: arrays up to the one are sent together, in one program; larger ones in pieces of the other."""


def place(array: np.ndarray, sharding: Any) -> jax.Array:
    """`array`, which every process has read, spread over the devices. XLA owns the memory: the epoch scribbles over it."""
    if sharding is None:
        return jnp.array(array, copy=True)
    return jax.make_array_from_callback(array.shape, sharding, lambda part: np.array(array[part], copy=True))


def fetch(arrays: Iterable[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Host copies by name: on process 0; the others have sent their parts. On a CPU `np.asarray` would be the very memory that
    the next epoch overwrites.
    """
    arrays = list(arrays)
    small = {name: x for name, x in arrays if _spread(x) and x.nbytes <= _SMALL}
    sent = dict(zip(small, _everywhere(list(small.values())), strict=True)) if small else {}
    return {
        name: _sent(x) if _spread(x) and name not in sent else np.array(sent.get(name, x), copy=True, order="C")
        for name, x in arrays
    }


def _spread(x: Any) -> bool:
    return isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated


def _everywhere(x: Any) -> Any:
    """The same arrays, whole on every device."""
    mesh = jax.tree.leaves(x)[0].sharding.mesh
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))(x)


def _sent(x: jax.Array) -> np.ndarray:
    """A large array, so many rows at a time: a device has room for its part of the replay buffer, not for all of it."""
    whole = np.empty(x.shape if jax.process_index() == 0 else (0,), x.dtype)
    rows = max(1, _CHUNK * len(x) // x.nbytes)
    same = NamedSharding(x.sharding.mesh, PartitionSpec())  # pyright: ignore[reportAttributeAccessIssue]
    part = jax.jit(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, min(rows, len(x))), out_shardings=same)
    for start in [*range(0, len(x) - rows, rows), max(len(x) - rows, 0)]:  # the last two may overlap
        sent = part(x, start)
        if len(whole):
            whole[start : start + rows] = sent
    return whole
