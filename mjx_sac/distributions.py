"""The tanh-Gaussian policy distribution (Haarnoja et al., 2018, arXiv:1812.05905, appendix C)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_sac.types import Key

MIN_STD = 1e-3
"""Keeps the density bounded; Brax's SAC uses the same floor."""


def _softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)) without overflow. `jax.nn.softplus` also minds two infinite arguments, which costs 1 % of an update."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(jnp.minimum(x, -x)))


class TanhGaussian(NamedTuple):
    """The distribution of tanh(x) with x ~ Normal(mean, std), independent per action dimension.

    Attributes:
      mean: location before the tanh.
      std: positive deviation before the tanh.
    """

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]

    @classmethod
    def from_network(cls, output: Float[Array, "*batch twice_action"]) -> "TanhGaussian":
        """First half: the mean. Second half: the deviation, through a softplus so that it is positive everywhere."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return cls(mean, _softplus(raw) + MIN_STD)

    def mode(self) -> Float[Array, "*batch action"]:
        """The deterministic action, tanh(mean)."""
        return jnp.tanh(self.mean)

    def sample(self, key: Key) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch"]]:
        """A reparametrised action in (-1, 1) and its log-probability.

        log pi(a) = sum_i log Normal(x_i) - log(1 - tanh(x_i)^2), where the last term is computed as
        2 (log 2 - x - softplus(-2x)), which stays finite for every x.
        """
        noise = jax.random.normal(key, self.mean.shape)
        x = self.mean + self.std * noise
        log_normal = -0.5 * jnp.square(noise) - jnp.log(self.std) - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - x - _softplus(-2 * x))
        return jnp.tanh(x), jnp.sum(log_normal - log_slope, axis=-1)
