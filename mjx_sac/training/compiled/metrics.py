"""Scalars that ride along with the losses, and how an epoch's worth of them becomes one."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from mjx_sac import devices
from mjx_sac.types import Metrics


class Packed(struct.PyTreeNode):
    """Metrics of one gradient step, or of many along a first axis, in two arrays: a GPU writes each with one kernel.

    Attributes:
      values: the scalars side by side.
      rows: what there is for each row of the batch, side by side, and waits for `summarise`.
      names: of the scalars.
      columns: names in `rows`, with the number of columns of each.
    """

    values: Float[Array, "*n scalars"]
    rows: Float[Array, "*n batch columns"]
    names: tuple[str, ...] = struct.field(pytree_node=False)
    columns: tuple[tuple[str, int], ...] = struct.field(pytree_node=False, default=())


def pack(metrics: Metrics) -> Packed:
    """`metrics` of one gradient step: scalars, and arrays with the batch on their first axis."""
    scalars = {name: jnp.asarray(value, jnp.float32) for name, value in sorted(metrics.items()) if not jnp.ndim(value)}
    tables = {name: value.reshape(len(value), -1) for name, value in sorted(metrics.items()) if jnp.ndim(value)}
    values = jnp.stack(list(scalars.values())) if scalars else jnp.zeros(0)
    rows = jnp.concatenate(list(tables.values()), axis=-1, dtype=jnp.float32) if tables else jnp.zeros((1, 0))
    return Packed(values, rows, tuple(scalars), tuple((name, table.shape[1]) for name, table in tables.items()))


def summarise(packed: Packed) -> Packed:
    """Of many gradient steps `[n]` what there is for each row of the batch as four scalars: mean, deviation, minimum, maximum.

    Of all at once: done within each of them it costs a GPU two launches more, and several devices an exchange.
    """
    rows, described, start = devices.whole(packed.rows), {}, 0
    for name, width in packed.columns:
        described |= describe(name, rows[..., start : start + width])
        start += width
    values = jnp.concatenate([packed.values, *(value[:, None] for value in described.values())], axis=-1)
    return Packed(values, rows[..., :0], (*packed.names, *described))


def unpack(packed: Packed) -> Metrics:
    """What `pack` was given, or many of its kind."""
    return {name: packed.values[..., i] for i, name in enumerate(packed.names)}


def describe(tag: str, values: Float[Array, "n ..."]) -> Metrics:
    """Mean, standard deviation, minimum and maximum of `values` over all axes but the first.

    The variance comes from squares, so that one pass over `values` gives all four; of differences to one of them, because squares
    of large values would swamp a small deviation.
    """
    values = values.reshape(len(values), -1)
    pivot = values[:, :1]
    shifted = values - pivot
    mean = jnp.mean(shifted, axis=-1)
    return {
        f"{tag}_mean": pivot[:, 0] + mean,
        f"{tag}_std": jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(shifted), axis=-1) - jnp.square(mean), 0.0)),
        f"{tag}_min": jnp.min(values, axis=-1),
        f"{tag}_max": jnp.max(values, axis=-1),
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
