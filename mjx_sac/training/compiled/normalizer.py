"""Running mean and variance of observations, as pure functions on a state."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from mjx_sac.types import Scalar

CLIP = 10.0
"""Normalised observations stay within these bounds, as in Stable-Baselines3's VecNormalize."""


class NormalizerState(struct.PyTreeNode):
    """Statistics of the observations seen.

    Attributes:
      count: observations seen. A float: past 2^24 it grows more coarsely, past 2^28 not at all. The
        mean then keeps moving with the weight that it has, so nothing overflows.
      var: their population variance; 1 before the first update.
    """

    count: Scalar
    mean: Float[Array, " observation"]
    var: Float[Array, " observation"]


def init(observation_size: int) -> NormalizerState:
    """Return statistics by which `normalize` only clips, until the first update."""
    return NormalizerState(jnp.zeros(()), jnp.zeros(observation_size), jnp.ones(observation_size))


def update(
    state: NormalizerState, batch: Float[Array, "batch observation"], mask: Bool[Array, " batch"]
) -> NormalizerState:
    """Take in the rows of `batch` where `mask` is true.

    Written with weights w = n / (count + n), so that no sum of squares grows without bound.

    References:
      Chan, Golub, LeVeque, 1983, Algorithms for computing the sample variance, eq. 2.1.
    """
    weights = mask[:, None].astype(batch.dtype)
    n = jnp.sum(weights)
    safe_n = jnp.maximum(n, 1)
    rows = jnp.where(mask[:, None], batch, 0)
    mean = jnp.sum(rows, axis=0) / safe_n
    var = jnp.sum(weights * jnp.square(rows - mean), axis=0) / safe_n
    count = state.count + n
    w = n / jnp.maximum(count, 1)
    delta = mean - state.mean
    mean = state.mean + w * delta
    var = (1 - w) * state.var + w * var + w * (1 - w) * jnp.square(delta)
    return NormalizerState(count, mean, jnp.where(count > 0, var, state.var))


def deviation(state: NormalizerState) -> Float[Array, " observation"]:
    """Return the standard deviation, never zero."""
    return jnp.maximum(jnp.sqrt(jnp.maximum(state.var, 1e-12)), 1e-6)


def normalize(
    state: NormalizerState, observation: Float[Array, "*batch observation"]
) -> Float[Array, "*batch observation"]:
    """Return (observation - mean) / standard deviation, clipped to [-10, 10]."""
    return jnp.clip((observation - state.mean) / deviation(state), -CLIP, CLIP)
