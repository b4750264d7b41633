"""Soft actor-critic's losses: the file to edit, or to replace by `--algorithm`, for another.

A loss is `(params, state, batch, key, *, networks, config) -> (scalar, metrics)`. It is
differentiated in `params`; everything else it needs is in `state`. `batch` holds normalised
observations. A scalar metric is logged under its name: its mean over an epoch, or the minimum or
maximum where the name ends in `_min` or `_max`. An array with the batch on its first axis is logged
as mean, standard deviation, minimum and maximum; as a histogram if it is named `histogram/...`.

References:
  Haarnoja et al., 2018, Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905.
"""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState, Variables


class Loss(Protocol):
    """The signature of every loss; `config` is the algorithm's own `Config`."""

    def __call__(
        self,
        params: Params,
        state: TrainState,
        batch: Batch,
        key: Key,
        *,
        networks: Networks,
        config: Any,
    ) -> tuple[Scalar, Metrics] | tuple[Scalar, Metrics, Variables]: ...


def soft_bellman_target(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    next_q: Float[Array, "batch critics"],
    next_log_prob: Float[Array, " batch"],
    alpha: Scalar,
) -> Float[Array, " batch"]:
    """Return the entropy-regularised one-step target; equation 3 with section 5's twin critics.

    y = r + discount * (min_i Q_i(s', a') - alpha log pi(a'|s'))

    Args:
      reward: scaled.
      discount: gamma, or 0 where the episode terminated; a truncated one bootstraps.
      next_q: target critics at the next observation and a fresh action.
      next_log_prob: of that action.
      alpha: temperature.
    """
    return reward + discount * (jnp.min(next_q, axis=-1) - alpha * next_log_prob)


def critic_loss(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return half the squared error to the soft Bellman target, summed over critics; equation 5."""
    policy = networks.actor.apply(state.actor_params, batch.next_observation)
    next_action, next_log_prob = policy.sample(key)
    next_q = networks.critic.apply(state.target_critic_params, batch.next_observation, next_action)
    if next_q.shape[:-1] != batch.reward.shape:  # or one value would broadcast against the batch
        raise ValueError(f"critics return shape {next_q.shape}, not (batch, critics)")
    reward = config.reward_scale * batch.reward
    alpha = jnp.exp(state.log_alpha)
    target = soft_bellman_target(reward, batch.discount, next_q, next_log_prob, alpha)
    q = networks.critic.apply(params, batch.observation, batch.action)
    loss = 0.5 * jnp.mean(jnp.sum(jnp.square(q - target[:, None]), axis=-1))
    return loss, critic_metrics(loss, q, target, batch)


def critic_metrics(loss: Scalar, q: Array, target: Array, batch: Batch) -> Metrics:
    """Return what is logged of critics, of arrays with the batch on their first axis."""
    return {
        "train/critic_loss": loss,
        "diagnostics/q": q,
        "diagnostics/target": target,
        "diagnostics/reward": batch.reward,
    }


def actor_loss(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return alpha log pi(a|s) - min_i Q_i(s, a) for a reparametrised action; equation 9."""
    del config
    action, log_prob = networks.actor.apply(params, batch.observation).sample(key)
    q = jnp.min(networks.critic.apply(state.critic_params, batch.observation, action), axis=-1)
    loss = jnp.mean(jnp.exp(state.log_alpha) * log_prob - q)
    return loss, {
        "train/actor_loss": loss,
        "diagnostics/log_prob": log_prob,
        "diagnostics/action": action,
    }


def temperature_loss(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return -alpha (log pi(a|s) + target entropy), where `params` is log alpha; equation 18.

    The key and the actor are those of `actor_loss`, so the compiler computes that forward pass
    once.
    """
    _, log_prob = networks.actor.apply(state.actor_params, batch.observation).sample(key)
    target = target_entropy(config, batch.action.shape[-1])
    loss = -jnp.exp(params) * jnp.mean(jax.lax.stop_gradient(log_prob) + target)
    return loss, {"train/ent_coef_loss": loss, "train/ent_coef": jnp.exp(params)}


def target_entropy(config: Config, action_size: int, per_action: float = -1.0) -> float | Scalar:
    """Return the entropy, in nats, that the temperature aims at.

    Without any in `config` it is so much `per_action` (section 5, table 1); from a deviation it is
    that of a Gaussian before the tanh, |A| / 2 log(2 pi e sigma^2) (FlashSAC, 2026).
    """
    if config.target_entropy is not None:
        return config.target_entropy
    if config.target_std is not None:
        return 0.5 * action_size * jnp.log(2 * math.pi * math.e * config.target_std**2)
    return per_action * float(action_size)


class Losses(NamedTuple):
    """The three losses of an algorithm. Replace one: `Losses(critic=mine)`.

    Attributes:
      critic: of all critics.
      actor: of the policy.
      temperature: of log alpha.
      target_actor: keep `state.target_actor_params`, a slow copy that moves with the target
        critics, for losses that bootstrap from it.
      target_critics: keep `state.target_critic_params`, for losses that bootstrap from them.
      actor_first: actor and temperature move before the critics, on the first of `policy_delay`
        gradient steps; otherwise after them, on the last.
      alpha_with_critics: the temperature moves with the critics, on each of these, and its loss is
        given their key; otherwise with the actor.
    """

    critic: Loss = critic_loss
    actor: Loss = actor_loss
    temperature: Loss = temperature_loss
    target_actor: bool = False
    target_critics: bool = True
    actor_first: bool = False
    alpha_with_critics: bool = False
