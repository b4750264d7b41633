"""Scalars that ride along with the losses, and how an epoch's worth of them becomes one."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from mjx_sac import devices
from mjx_sac.types import Metrics


class Packed(struct.PyTreeNode):
    """Metrics side by side in one array, which a GPU writes with one kernel instead of one for each.

    Attributes:
      values: the scalars on the last axis.
      names: theirs.
    """

    values: Float[Array, "*n scalars"]
    names: tuple[str, ...] = struct.field(pytree_node=False)


def pack(metrics: Metrics) -> Packed:
    """The scalars of `metrics` in one array."""
    names = tuple(sorted(metrics))
    return Packed(jnp.stack([jnp.asarray(metrics[name], jnp.float32) for name in names]), names)


def unpack(packed: Packed) -> Metrics:
    """What `pack` was given, or many of its kind."""
    return {name: packed.values[..., i] for i, name in enumerate(packed.names)}


def describe(tag: str, values: jax.Array) -> Metrics:
    """Mean, standard deviation, minimum and maximum of `values` over all its axes.

    The variance comes from squares, so that one pass over `values` gives all four; of differences to one of them, because squares
    of large values would swamp a small deviation.
    """
    values = devices.whole(values)
    pivot = jnp.ravel(values)[0]
    shifted = values - pivot
    mean = jnp.mean(shifted)
    return {
        f"{tag}_mean": pivot + mean,
        f"{tag}_std": jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(shifted)) - jnp.square(mean), 0.0)),
        f"{tag}_min": jnp.min(values),
        f"{tag}_max": jnp.max(values),
    }


def reduce(packed: Packed, where: Bool[Array, " n"] | None = None) -> Packed:
    """Each scalar's history `[n]` to one value: `*_min` to its minimum, `*_max` to its maximum, the rest to the mean.

    Where `where` is false nothing was measured; with nothing at all the result is meaningless and the caller drops it.
    """
    mask = None if where is None else where[:, None]
    low = jnp.min(packed.values, axis=0, initial=jnp.inf, where=mask)
    high = jnp.max(packed.values, axis=0, initial=-jnp.inf, where=mask)
    mean = jnp.mean(packed.values, axis=0, where=mask)
    ends = np.array([(name.endswith("_min"), name.endswith("_max")) for name in packed.names])
    return packed.replace(values=jnp.where(ends[:, 0], low, jnp.where(ends[:, 1], high, mean)))
