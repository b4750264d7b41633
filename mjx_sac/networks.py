"""The actor and the ensemble of critics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.distributions import TanhGaussian

_INIT = nn.initializers.lecun_uniform()


class MLP(nn.Module):
    """Hidden layers with an activation each, then a linear output.

    Attributes:
      hidden_sizes: widths of the hidden layers.
      output_size: width of the output.
      activation: a name in `jax.nn` or `jax.numpy`.
      layer_norm: normalise every hidden layer before its activation, as in DroQ (Hiraoka et al., 2021, arXiv:2110.02034).
    """

    hidden_sizes: tuple[int, ...]
    output_size: int
    activation: str = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch output"]:
        activation: Any = jnp.tanh if self.activation == "tanh" else getattr(jax.nn, self.activation)
        for width in self.hidden_sizes:
            x = nn.Dense(width, kernel_init=_INIT)(x)
            x = activation(nn.LayerNorm()(x) if self.layer_norm else x)
        return nn.Dense(self.output_size, kernel_init=_INIT)(x)


class Actor(nn.Module):
    """The policy: observation -> distribution over actions in (-1, 1)."""

    action_size: int
    hidden_sizes: tuple[int, ...]
    activation: str = "relu"

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> TanhGaussian:
        return TanhGaussian.from_network(MLP(self.hidden_sizes, 2 * self.action_size, self.activation)(observation))


class Critic(nn.Module):
    """Independent critics as one batched module: (observation, action) -> one value per critic, on the last axis."""

    hidden_sizes: tuple[int, ...]
    activation: str = "relu"
    layer_norm: bool = False
    num_critics: int = 2

    @nn.compact
    def __call__(
        self, observation: Float[Array, "*batch observation"], action: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch critics"]:
        ensemble = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            out_axes=-1,
            axis_size=self.num_critics,
        )
        features = jnp.concatenate([observation, action], axis=-1)
        # A copy for each critic keeps all layers batched products; given one input, XLA makes the first layer one wide product
        # and transposes what comes out, there and back.
        features = jnp.broadcast_to(features, (self.num_critics, *features.shape))
        values = ensemble(self.hidden_sizes, 1, self.activation, self.layer_norm)(features)
        return jnp.squeeze(values, axis=-2)


class Networks(NamedTuple):
    """What the losses call: `networks.actor.apply(params, observation)`, `networks.critic.apply(params, observation, action)`."""

    actor: Any
    critic: Any


def make(config: Config, action_size: int) -> Networks:
    """The default actor and twin critics."""
    return Networks(
        actor=Actor(action_size, config.hidden_sizes, config.activation),
        critic=Critic(config.hidden_sizes, config.activation, config.critic_layer_norm),
    )
