"""Metrics that ride along with the losses, and how an epoch's worth of them becomes one."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from mjx_sac.training.compiled import sharding
from mjx_sac.types import Metrics

RESERVED = (
    *("rollout/", "env/", "replay/", "health/", "time/", "eval/", "checkpoint/"),
    "train/n_updates",
)
"""How the tags begin of what is measured beside the losses."""

HISTOGRAM = "histogram/"
"""How the tags begin of arrays that are logged as histograms."""
PERCENTILES = np.arange(0, 101, 5)
"""What is kept of these: they are scalars like any other until they are logged."""

REAL = (jnp.floating, jnp.integer, jnp.bool_)


def problem(metrics: Mapping[Any, Any], batch_size: int) -> str | None:
    """Return why the metrics of a gradient step, as shapes, cannot be logged, or None."""
    arrays = [tag for tag, value in metrics.items() if getattr(value, "shape", ())]
    described = {f"{tag}_{name}": tag for tag in arrays for name in ("mean", "std", "min", "max")}
    for tag, value in metrics.items():
        if not isinstance(tag, str) or tag.startswith(RESERVED):
            return f"metric {tag!r}: such names are the trainer's: choose one like train/{tag}"
        if tag in described:
            return f"metric {tag!r}: array {described[tag]!r} is logged as that too: rename one"
        is_array = hasattr(value, "shape") and hasattr(value, "dtype")
        shape, kind = (value.shape, value.dtype) if is_array else ((), type(value))
        real = is_array and any(jnp.issubdtype(kind, x) for x in REAL)
        scalar = "" if tag.startswith(HISTOGRAM) else "a real scalar, or "
        if not real or not (shape or scalar) or (shape and (shape[0] != batch_size or 0 in shape)):
            found = f"{getattr(kind, '__name__', kind)}{list(shape)}"
            array = f"an array with the batch's {batch_size} rows on its first axis"
            return f"metric {tag!r} is {found}: make it {scalar}{array}"
    return None


class Packed(struct.PyTreeNode):
    """Metrics of one gradient step, or of many along a first axis, in two arrays.

    A GPU writes each with one kernel.

    Attributes:
      scalars: side by side.
      per_row: what there is for each row of the batch, side by side, until `summarize_rows`.
      names: of the scalars.
      columns: names in `per_row`, with the number of columns of each.
    """

    scalars: Float[Array, "*n scalars"]
    per_row: Float[Array, "*n batch columns"]
    names: tuple[str, ...] = struct.field(pytree_node=False)
    columns: tuple[tuple[str, int], ...] = struct.field(pytree_node=False, default=())


def pack(metrics: Metrics) -> Packed:
    """Pack metrics of one gradient step: scalars, and arrays with the batch on their first axis."""
    ordered = sorted(metrics.items())
    scalars = {k: jnp.asarray(x, jnp.float32) for k, x in ordered if not jnp.ndim(x)}
    tables = {k: x.reshape(len(x), -1) for k, x in ordered if jnp.ndim(x)}
    per_row = jnp.zeros((1, 0))
    if tables:
        per_row = jnp.concatenate(list(tables.values()), axis=-1, dtype=jnp.float32)
    return Packed(
        scalars=jnp.stack(list(scalars.values())) if scalars else jnp.zeros(0),
        per_row=per_row,
        names=tuple(scalars),
        columns=tuple((name, table.shape[1]) for name, table in tables.items()),
    )


def summarize_rows(packed: Packed) -> Packed:
    """Summarize per-row metrics of n gradient steps: mean, std, min and max, or percentiles.

    Once for all n: per step it would cost two more launches and one collective.
    """
    per_row, described, start = sharding.replicate(packed.per_row), {}, 0
    for name, width in packed.columns:
        summarize = percentiles if name.startswith(HISTOGRAM) else describe
        described |= summarize(name, per_row[..., start : start + width])
        start += width
    summaries = [value[:, None] for value in described.values()]
    scalars = jnp.concatenate([packed.scalars, *summaries], axis=-1)
    return Packed(scalars, per_row[..., :0], (*packed.names, *described))


def unpack(packed: Packed) -> Metrics:
    """Return the scalars by name."""
    return {name: packed.scalars[..., i] for i, name in enumerate(packed.names)}


def describe(tag: str, values: Float[Array, "n ..."]) -> Metrics:
    """Return mean, std, min and max of `values` over all axes but the first.

    The variance comes from squares, so that one pass over `values` gives all four; squares of
    differences to one of them, because squares of large values would swamp a small deviation.
    """
    values = values.reshape(len(values), -1)
    pivot = values[:, :1]
    shifted = values - pivot
    mean = jnp.mean(shifted, axis=-1)
    var = jnp.mean(jnp.square(shifted), axis=-1) - jnp.square(mean)
    return {
        f"{tag}_mean": pivot[:, 0] + mean,
        f"{tag}_std": jnp.sqrt(jnp.maximum(var, 0.0)),
        f"{tag}_min": jnp.min(values, axis=-1),
        f"{tag}_max": jnp.max(values, axis=-1),
    }


def percentiles(
    tag: str, values: Float[Array, "n ..."], of: Callable[..., Array] = jnp.percentile
) -> Metrics:
    """Return `PERCENTILES` of `values` over all axes but the first, as `tag@000` to `tag@100`."""
    found = of(values.reshape(len(values), -1), PERCENTILES, axis=-1)
    return {f"{tag}@{p:03}": x for p, x in zip(PERCENTILES, found, strict=True)}


def sum_where(
    values: Float[Array, "n columns"], where: Bool[Array, " n"]
) -> Float[Array, "2 columns"]:
    """Return the sums over rows where `where` and finite, and in how many rows each was."""
    counted = where[:, None] & jnp.isfinite(values)
    return jnp.stack([jnp.sum(jnp.where(counted, x, 0.0), axis=0) for x in (values, 1.0)])


def reduce_over_time(packed: Packed, where: Bool[Array, " n"] | None = None) -> Packed:
    """Reduce each scalar's history [n]: `*_min` to its minimum, `*_max` to its maximum, the rest
    to the mean.

    Where `where` is false nothing was measured; with nothing at all the result is meaningless and
    the caller drops it.
    """
    mask = None if where is None else where[:, None]
    low = jnp.min(packed.scalars, axis=0, initial=jnp.inf, where=mask)
    high = jnp.max(packed.scalars, axis=0, initial=-jnp.inf, where=mask)
    mean = jnp.mean(packed.scalars, axis=0, where=mask)
    is_min, is_max = (
        np.array([name.endswith(end) for name in packed.names], bool) for end in ("_min", "_max")
    )
    return packed.replace(scalars=jnp.where(is_min, low, jnp.where(is_max, high, mean)))
