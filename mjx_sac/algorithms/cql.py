"""CQL(H): soft actor-critic that pushes down values of actions the replay buffer does not hold.

References:
  Kumar et al., 2020, Conservative Q-Learning for Offline Reinforcement Learning, arXiv:2006.04779.
"""

import jax
import jax.numpy as jnp

from mjx_sac import config as config_lib
from mjx_sac import losses as sac
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Config(config_lib.Config):
    """Weight of the penalty, and actions drawn from each of two distributions (appendix F)."""

    cql_weight: float = 1.0
    cql_actions: int = 10


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return soft actor-critic's loss plus the penalty of equation 4.

    Its log-sum-exp over actions is estimated by importance sampling, half of the actions uniform
    and half the policy's (appendix F).
    """
    keys = jax.random.split(key, 3)
    loss, metrics = sac.critic_loss(params, state, batch, keys[0], networks=networks, config=config)
    n, size = config.cql_actions, batch.action.shape[-1]
    observation = jnp.broadcast_to(batch.observation, (n, *batch.observation.shape))
    uniform = jax.random.uniform(keys[1], (n, *batch.action.shape), minval=-1.0)
    policy = networks.actor.apply(state.actor_params, observation)
    sampled, log_prob = policy.sample(keys[2])
    # Q minus the log density of the distribution that an action was drawn from.
    uniform_q = networks.critic.apply(params, observation, uniform) + size * jnp.log(2.0)
    sampled_q = networks.critic.apply(params, observation, sampled) - log_prob[..., None]
    weighted = jnp.concatenate([uniform_q, sampled_q])
    q = networks.critic.apply(params, batch.observation, batch.action)
    gap = jax.nn.logsumexp(weighted, axis=0) - jnp.log(2.0 * n) - q
    penalty = config.cql_weight * jnp.mean(jnp.sum(gap, axis=-1))
    return loss + penalty, {**metrics, "train/cql_penalty": penalty}


losses = Losses(critic)
