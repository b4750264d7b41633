"""TQC: critics that predict quantiles of the return, of which targets leave out the largest.

Departures from the authors' code: actor and temperature are soft actor-critic's here, so that a
deviation is a softplus, the actor moves on the new critics, and the temperature's loss is in alpha.

References:
  Kuznetsov et al., 2020, Controlling Overestimation Bias with Truncated Mixture of Continuous
  Distributional Quantile Critics, arXiv:2005.04269 (code: SamsungLabs/tqc_pytorch).
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac import config as config_lib
from mjx_sac import losses as sac
from mjx_sac.algorithms import batch_norm
from mjx_sac.algorithms.blocks import Critics
from mjx_sac.config.fields import Int, Widths
from mjx_sac.losses import Losses
from mjx_sac.networks import Actor, Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Config(config_lib.Config):
    """The paper's (table 3); `hidden_sizes` are the actor's."""

    ascending = (("dropped_quantiles", "quantiles"),)

    num_envs: Int = 1
    num_critics: Int = 5
    critic_widths: Widths = Field((512,) * 3, description="widths of the critics' hidden layers")
    quantiles: Int = Field(25, description="quantiles that each critic predicts", ge=1)
    dropped_quantiles: Int = Field(
        2, description="largest quantiles per critic that targets leave out", ge=0
    )


def networks(config: Config, action_size: int) -> Networks:
    """Return soft actor-critic's actor, and critics of quantiles [critics, batch, quantiles]."""
    layers = config.critic_widths, config.quantiles, config.activation, config.critic_layer_norm
    actor = Actor(action_size, config.hidden_sizes, config.activation)
    return Networks(actor, Critics(config.num_critics, layers))


def truncated(
    quantiles: Float[Array, "critics batch quantiles"], dropped: int
) -> Float[Array, "batch kept"]:
    """Return each row's quantiles of all critics in order, without the `dropped` largest."""
    pooled = jnp.sort(jnp.concatenate([*quantiles], axis=-1), axis=-1)
    return pooled[:, : pooled.shape[-1] - dropped]


def quantile_huber_loss(
    quantiles: Float[Array, "critics batch quantiles"], samples: Float[Array, "batch samples"]
) -> Scalar:
    """Return the mean over pairs of |tau - [sample < quantile]| Huber(difference); equation 10."""
    n = quantiles.shape[-1]
    tau = (jnp.arange(n) + 0.5) / n
    difference = samples[None, :, None, :] - quantiles[..., None]
    size = jnp.abs(difference)
    huber = jnp.where(size > 1, size - 0.5, 0.5 * jnp.square(difference))
    return jnp.mean(jnp.abs(tau[:, None] - (difference < 0)) * huber)


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return the quantile Huber loss to the truncated soft target; equations 6 to 10."""
    policy = networks.actor.apply(state.actor_params, batch.next_observation)
    next_action, next_log_prob = policy.sample(key)
    next_quantiles = networks.critic.apply(
        state.target_critic_params, batch.next_observation, next_action
    )
    kept = truncated(next_quantiles, config.dropped_quantiles * config.num_critics)
    soft = kept - (jnp.exp(state.log_alpha) * next_log_prob)[:, None]
    reward = config.reward_scale * batch.reward
    target = reward[:, None] + batch.discount[:, None] * soft
    quantiles = networks.critic.apply(params, batch.observation, batch.action)
    loss = quantile_huber_loss(quantiles, target)
    q = jnp.mean(quantiles, axis=-1).T
    return loss, sac.critic_metrics(loss, q, jnp.mean(target, axis=-1), batch)


def values(quantiles: Float[Array, "critics batch quantiles"], _: Config) -> Array:
    """Return each critic's value, [critics, batch]."""
    return jnp.mean(quantiles, axis=-1)


# The actor's value is the mean of all quantiles of all critics; equation 12.
losses = Losses(critic, partial(batch_norm.actor_loss, values=values, over_critics=jnp.mean))
