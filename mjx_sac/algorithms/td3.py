"""TD3: a deterministic actor with exploration noise, and smoothed targets.

References:
  Fujimoto et al., 2018, Addressing Function Approximation Error in Actor-Critic Methods,
  arXiv:1802.09477.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mjx_sac import config as config_lib
from mjx_sac import networks as default_networks
from mjx_sac.losses import Losses
from mjx_sac.networks import MLP, Networks, TanhGaussian, mlp_operations
from mjx_sac.types import Batch, Key, Metrics, Operation, Params, Scalar, TrainState


class Config(config_lib.Config):
    """The paper's delays, and its three noise parameters, in units of actions in [-1, 1]."""

    unused = ("alpha_lr", "initial_alpha", "target_entropy", "target_std")

    policy_delay: int = 2
    target_delay: int = 2
    exploration_noise: float = 0.1
    target_noise: float = 0.2
    target_noise_clip: float = 0.5


class Deterministic(TanhGaussian):
    """The action tanh(mean); a sample adds noise of deviation `std` after the tanh."""

    def sample(self, key: Key) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch"]]:
        noise = self.std * jax.random.normal(key, self.mean.shape)
        return jnp.clip(self.mode() + noise, -1, 1), jnp.zeros(self.mean.shape[:-1])


class Actor(nn.Module):
    """Observation -> deterministic action; a sample adds noise of deviation `std`."""

    action_size: int
    config: config_lib.Config
    std: float
    head_init: Any = MLP.head_init

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> Deterministic:
        sizes, activation = self.config.hidden_sizes, self.config.activation
        layers = MLP(sizes, self.action_size, activation, head_init=self.head_init)
        return Deterministic(layers(observation), jnp.float32(self.std))

    def operations(self, variables: Params) -> list[Operation]:
        mlp = variables["params"]["MLP_0"]
        layers = mlp_operations(mlp, self.config.activation, self.action_size)
        return [*layers, Operation("tanh")]


def networks(config: Config, action_size: int) -> Networks:
    """Return soft actor-critic's critics and a deterministic actor."""
    actor = Actor(action_size, config, config.exploration_noise)
    return default_networks.make(config, action_size)._replace(actor=actor)


def smoothed(
    action: Float[Array, "batch action"], key: Key, config: Any
) -> Float[Array, "batch action"]:
    """Return actions with the noise of targets, which is cut off; equation 14."""
    noise = config.target_noise * jax.random.normal(key, action.shape)
    noise = jnp.clip(noise, -config.target_noise_clip, config.target_noise_clip)
    return jnp.clip(action + noise, -1, 1)


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return the squared error to the smoothed target; equations 10 and 14 (algorithm 1)."""
    action = networks.actor.apply(state.target_actor_params, batch.next_observation).mode()
    action = smoothed(action, key, config)
    next_q = networks.critic.apply(state.target_critic_params, batch.next_observation, action)
    reward = config.reward_scale * batch.reward
    target = reward + batch.discount * jnp.min(next_q, axis=-1)
    q = networks.critic.apply(params, batch.observation, batch.action)
    loss = jnp.mean(jnp.sum(jnp.square(q - target[:, None]), axis=-1))
    return loss, {"train/critic_loss": loss, "diagnostics/q": q}


def actor(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return minus the first critic's value of the actor's action; algorithm 1."""
    del key, config
    action = networks.actor.apply(params, batch.observation).mode()
    q = networks.critic.apply(state.critic_params, batch.observation, action)
    loss = -jnp.mean(q[:, 0])
    return loss, {"train/actor_loss": loss}


def temperature(params: Params, *_: Any, **__: Any) -> tuple[Scalar, Metrics]:
    """Return zero: TD3 has no entropy bonus."""
    return 0.0 * params, {}


losses = Losses(critic, actor, temperature, target_actor=True)
