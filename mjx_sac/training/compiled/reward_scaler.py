"""Scale rewards by what their discounted sums reach, as pure functions on a state.

The replay buffer keeps raw rewards; they are scaled when a batch is drawn, by what is known then.

References:
  Andrychowicz et al., 2021, What Matters for On-Policy Deep Actor-Critic Methods? (the deviation).
  Lee et al., 2025, Hyperspherical Normalization for Scalable Deep RL, arXiv:2502.15280, section 4.2
  (the largest sum).
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from mjx_sac.training.compiled import normalizer
from mjx_sac.types import Scalar, Step

_EPSILON = 1e-8


class RewardScalerState(struct.PyTreeNode):
    """Each environment's discounted sum G of rewards; of all G, statistics and the largest |G|."""

    returns: Float[Array, " num_envs"]
    stats: normalizer.NormalizerState
    largest: Scalar


def init(num_envs: int) -> RewardScalerState:
    """Return the state before the first reward."""
    return RewardScalerState(jnp.zeros(num_envs), normalizer.init(1), jnp.zeros(()))


def update(
    state: RewardScalerState, step: Step, valid: Bool[Array, " num_envs"], discount: float | Scalar
) -> RewardScalerState:
    """Take in a reward per environment: G <- discount (1 - ended) G + r.

    An episode's last reward begins the next sum rather than ending its own, as in the code that
    FlashSAC was released with. Where not `valid` there was none, and the sum begins again.
    """
    ended = step.terminated | step.truncated
    returns = discount * jnp.where(ended, 0.0, state.returns) + step.reward
    returns = jnp.where(valid, returns, 0.0)
    return RewardScalerState(
        returns=returns,
        stats=normalizer.update(state.stats, returns[:, None], valid),
        largest=jnp.maximum(state.largest, jnp.max(jnp.abs(returns))),
    )


def divisor(state: RewardScalerState, max_return: float | Scalar | None) -> Scalar:
    """Return what divides rewards: the deviation of G, or more to keep |G| within `max_return`."""
    deviation = jnp.sqrt(state.stats.var[0] + _EPSILON)
    return deviation if max_return is None else jnp.maximum(deviation, state.largest / max_return)
