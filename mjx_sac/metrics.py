"""Scalars that ride along with the losses, and how an epoch's worth of them becomes one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mjx_sac.types import Metrics


def describe(tag: str, values: jax.Array) -> Metrics:
    """Mean, standard deviation, minimum and maximum of `values` over all its axes."""
    return {
        f"{tag}_mean": jnp.mean(values),
        f"{tag}_std": jnp.std(values),
        f"{tag}_min": jnp.min(values),
        f"{tag}_max": jnp.max(values),
    }


def reduce(metrics: Metrics, where: Bool[Array, " n"] | None = None) -> Metrics:
    """Each scalar's history `[n]` to one value: `*_min` to its minimum, `*_max` to its maximum, the rest to the mean.

    Where `where` is false nothing was measured; with nothing at all the result is meaningless and the caller drops it.
    """

    def one(tag: str, values: jax.Array) -> jax.Array:
        if tag.endswith("_min"):
            return jnp.min(values, initial=jnp.inf, where=where)
        if tag.endswith("_max"):
            return jnp.max(values, initial=-jnp.inf, where=where)
        return jnp.mean(values, where=where)

    return {tag: one(tag, values) for tag, values in metrics.items()}
