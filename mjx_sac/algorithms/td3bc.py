"""TD3+BC: TD3 whose actor also imitates the actions of the data set, for offline learning.

Departures: observations are normalised by their deviation without the paper's 1e-3, and clipped at
10 of it; `--no_normalize_observations` leaves them as they are.

References:
  Fujimoto and Gu, 2021, A Minimalist Approach to Offline Reinforcement Learning, arXiv:2106.06860.
  Fujimoto et al., 2018, Addressing Function Approximation Error in Actor-Critic Methods,
  arXiv:1802.09477.
"""

import jax
import jax.numpy as jnp

from mjx_sac.algorithms import td3
from mjx_sac.algorithms.td3 import networks as networks
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Config(td3.Config):
    """TD3's, and how much the critics' values weigh against imitation."""

    bc_alpha: float = 2.5


def actor(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return -lambda Q(s, pi(s)) + (pi(s) - a)^2 with lambda = alpha / mean |Q|; equations 3 and 5.

    Q is the first critic's, and no gradient reaches lambda.
    """
    del key
    action = networks.actor.apply(params, batch.observation).mode()
    q = networks.critic.apply(state.critic_params, batch.observation, action)[:, 0]
    weight = config.bc_alpha / jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
    cloning = jnp.mean(jnp.square(action - batch.action))
    loss = cloning - weight * jnp.mean(q)
    return loss, {"train/actor_loss": loss, "train/cloning_loss": cloning}


losses = Losses(td3.critic, actor, td3.temperature, target_actor=True)
