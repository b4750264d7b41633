"""REDQ: many critics, a random subset of them in each target, many gradient steps per transition.

References:
  Chen et al., 2021, Randomized Ensembled Double Q-Learning, arXiv:2101.05982.
"""

from functools import partial

import jax
import jax.numpy as jnp

from mjx_sac import config as config_lib
from mjx_sac import losses as sac
from mjx_sac.algorithms import batch_norm
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Config(config_lib.Config):
    """The paper's ensemble size N, update-to-data ratio G and subset size M (section 2)."""

    num_critics: int = 10
    updates_per_iteration: float = 20.0
    policy_delay: int = 20
    target_critics: int = 2


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return soft actor-critic's loss with the minimum over a random subset; equation 1."""
    subset = jax.random.permutation(jax.random.fold_in(key, 0), config.num_critics)
    subset = subset[: config.target_critics]
    subset = jnp.resize(subset, (config.num_critics,))  # repeated: their minimum is the same
    targets = jax.tree.map(lambda x: x[subset], state.target_critic_params)
    state = state.replace(target_critic_params=targets)
    return sac.critic_loss(params, state, batch, key, networks=networks, config=config)


# Its actor takes the mean over all critics; algorithm 1, line 11.
losses = Losses(critic, partial(batch_norm.actor_loss, over_critics=jnp.mean))
