"""Critics that predict a distribution over returns, on fixed atoms.

References:
  Bellemare, Dabney, Munos, 2017, A Distributional Perspective on Reinforcement Learning,
  arXiv:1707.06887.
"""

from typing import Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field, model_validator

from mjx_sac import config as config_lib
from mjx_sac.config.fields import Int
from mjx_sac.types import Scalar

Atoms = Float[Array, " atoms"]


class Config(config_lib.Config):
    """Where the atoms lie, in returns as the critics see them: scaled."""

    atoms: Int = Field(101, description="atoms of the critics' distributions", ge=2)
    v_min: float = Field(-5.0, description="return of the first atom")
    v_max: float = Field(5.0, description="return of the last atom")

    @model_validator(mode="after")
    def _atoms_ascend(self) -> Self:
        if self.v_min >= self.v_max:
            raise ValueError(
                f"v_min {self.v_min:g} is not below v_max {self.v_max:g}: lower v_min or raise "
                f"v_max"
            )
        return self


def support(config: Config) -> Atoms:
    """Return the atoms' returns, evenly spaced."""
    return jnp.linspace(config.v_min, config.v_max, config.atoms)


def mean(logits: Float[Array, "*batch atoms"], config: Config) -> Float[Array, "*batch"]:
    """Return expected returns."""
    return jax.nn.softmax(logits) @ support(config)


def target(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    next_logits: Float[Array, "critics batch atoms"],
    next_log_prob: Float[Array, " batch"],
    alpha: Scalar,
    config: Config,
) -> Float[Array, "batch atoms"]:
    """Return the distribution of the soft Bellman target, projected on the atoms.

    Its atoms are z = r + discount (atom - alpha log pi(a'|s')), with the probabilities of the
    critic whose mean is the smallest at (s', a'). The arguments are those of
    `losses.soft_bellman_target`.
    """
    smallest = jnp.argmin(mean(next_logits, config), axis=0)
    logits = jnp.take_along_axis(next_logits, smallest[None, :, None], axis=0)[0]
    entropy_bonus = (alpha * next_log_prob)[:, None]
    returns = reward[:, None] + discount[:, None] * (support(config) - entropy_bonus)
    return project(jax.nn.softmax(logits), returns, config)


def project(
    probabilities: Float[Array, "batch atoms"],
    returns: Float[Array, "batch atoms"],
    config: Config,
) -> Float[Array, "batch atoms"]:
    """Move each probability from its return to the two atoms around, the nearer getting more.

    Returns beyond the first or last atom count as that one; equation 7.
    """
    rows, last = jnp.arange(len(returns))[:, None], config.atoms - 1
    width = (config.v_max - config.v_min) / last
    position = (jnp.clip(returns, config.v_min, config.v_max) - config.v_min) / width
    below = jnp.clip(jnp.floor(position), 0, last - 1)
    share = position - below
    pairs = probabilities[..., None] * jnp.stack([1 - share, share], axis=-1)
    # One scatter of pairs: a tent for every pair of atoms takes twelve times as long on a CPU.
    empty = jnp.zeros((len(returns), last, 2))
    summed = empty.at[rows, below.astype(jnp.int32)].add(pairs)
    return jnp.pad(summed[..., 0], ((0, 0), (0, 1))) + jnp.pad(summed[..., 1], ((0, 0), (1, 0)))


def cross_entropy(
    logits: Float[Array, "critics batch atoms"], target: Float[Array, "batch atoms"]
) -> Float[Array, "critics batch"]:
    """Return the cross-entropy of each critic's prediction to the target."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
