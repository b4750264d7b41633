"""Losses of actor and temperature that several algorithms share, with BatchNorm or without."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_sac import losses as sac
from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState, Variables


def actor_loss(
    params: Params,
    state: TrainState,
    batch: Batch,
    key: Key,
    *,
    networks: Networks,
    config: Config,
    values: Callable[[Array, Any], Float[Array, "critics batch"]] = lambda q, _: q.T,
    joint: bool = False,
    over_critics: Callable[..., Array] = jnp.min,
) -> tuple[Scalar, Metrics, Variables]:
    """Return alpha log pi(a|s) - min_i Q_i(s, a); critics normalise by their running statistics.

    `values(output, config)` are the critics' of what they return, [batch, critics] by default;
    `over_critics` may be another function than the minimum; see `act` for `joint`.
    """
    action, log_prob, variables = act(params, state, batch, key, networks, joint)
    q = values(networks.critic.apply(state.critic, batch.observation, action), config)
    loss = jnp.mean(jnp.exp(state.log_alpha) * log_prob - over_critics(q, axis=0))
    metrics = {
        "train/actor_loss": loss,
        "diagnostics/log_prob": log_prob,
        "diagnostics/action": action,
    }
    return loss, metrics, Variables(actor=variables)


def act(
    params: Params, state: TrainState, batch: Batch, key: Key, networks: Networks, joint: bool
) -> tuple[Float[Array, "batch action"], Float[Array, " batch"], Any]:
    """Return actions at s, their log-probabilities, and the actor's variables after it.

    An actor with BatchNorm normalises by this batch: `joint`ly of s and s'.
    """
    observation, n = batch.observation, len(batch.reward)
    if joint:
        observation = jnp.concatenate([observation, batch.next_observation])
    policy, variables = by_batch(networks.actor, params, state.actor_variables, observation)
    action, log_prob = policy.sample(key)
    return action[:n], log_prob[:n], variables


def by_batch(network: Any, params: Params, variables: Any, *inputs: Array) -> tuple[Any, Any]:
    """Return what a network returns, and its variables after it: BatchNorm is by the batch."""
    if variables is None:
        return network.apply(params, *inputs), None
    return network.apply({**params, **variables}, *inputs, train=True, mutable=["batch_stats"])


def temperature_loss(
    params: Params,
    state: TrainState,
    batch: Batch,
    key: Key,
    *,
    networks: Networks,
    config: Config,
    joint: bool = False,
    per_action: float = -1.0,
) -> tuple[Scalar, Metrics]:
    """Return alpha (entropy - target entropy), where `params` is log alpha.

    Key and actor are those of `actor_loss`, so the compiler computes that forward pass once.
    """
    log_prob = act(state.actor_params, state, batch, key, networks, joint)[1]
    excess = -jnp.mean(log_prob) - sac.target_entropy(config, batch.action.shape[-1], per_action)
    loss = jnp.exp(params) * jax.lax.stop_gradient(excess)
    return loss, {"train/ent_coef_loss": loss, "train/ent_coef": jnp.exp(params)}
