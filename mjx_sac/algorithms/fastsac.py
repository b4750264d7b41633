"""FastSAC: plain layers with layer norm, categorical critics that each follow their own target.

The defaults are those released for legged robots, but for their regime: thousands of environments
on a GPU are in configs/playground_locomotion.toml. `v_min` and `v_max` are bounds of a task's
returns: --normalize_rewards --max_return 20 scales rewards to these instead.

Departures from the authors' code: the actor moves on the fourth, eighth, ... gradient step, where
theirs does on the second, sixth, ...; mirrored transitions are the user's `augment`; what an
action of 1 means is the environment's to say; warm-up takes uniform actions; observations are
normalised as everywhere here; initial weights are ours, but for the actor's last layer; layer norm
adds 1e-6, not 1e-5; float32.

References:
  Seo et al., 2025, Learning Sim-to-Real Humanoid Locomotion in 15 Minutes, arXiv:2512.01996 (code:
  amazon-far/holosoma).
  Haarnoja et al., 2018, Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905.
  Bellemare et al., 2017, A Distributional Perspective on Reinforcement Learning,
  arXiv:1707.06887: the critics.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac import losses as sac
from mjx_sac.algorithms import categorical
from mjx_sac.algorithms.base import Optimizers
from mjx_sac.algorithms.blocks import Critics
from mjx_sac.config.fields import AutoFloat, Int, Widths
from mjx_sac.losses import Losses
from mjx_sac.networks import MLP, Networks, TanhGaussian, mlp_operations
from mjx_sac.types import Batch, Key, Metrics, Operation, Params, Scalar, TrainState

_ACTIVATION = "silu"


class Config(categorical.Config):
    """The released hyperparameters (config_values/algo.py); `hidden_sizes` are the actor's."""

    unused = ("activation", "critic_layer_norm")
    ascending = (*categorical.Config.ascending, ("log_std_min", "log_std_max"))

    discount: float = 0.97
    tau: float = 0.125
    policy_delay: Int = 4
    initial_alpha: float = 0.001
    target_entropy: AutoFloat = 0.0
    v_min: float = Field(-20.0, description="return of the first atom")
    v_max: float = Field(20.0, description="return of the last atom")
    num_critics: Int = Field(2, description="critics, whose mean value counts", gt=0)
    hidden_sizes: Widths = (512, 256, 128)
    critic_widths: Widths = Field((768, 384, 192), description="widths of critics' hidden layers")
    log_std_min: float = Field(-5.0, description="least logarithm of the policy's deviation")
    log_std_max: float = Field(0.0, description="largest logarithm of the policy's deviation")
    weight_decay: float = Field(0.001, description="AdamW's decay of the networks", ge=0)
    adam_b2: float = Field(0.95, description="AdamW's decay of mean squares", ge=0, lt=1)


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), at first the same for all observations.

    The logarithm of its deviation is in (`log_std_min`, `log_std_max`).
    """

    action_size: int
    config: Config

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> TanhGaussian:
        sizes, zeros = self.config.hidden_sizes, nn.initializers.zeros
        layers = MLP(sizes, 2 * self.action_size, _ACTIVATION, layer_norm=True, head_init=zeros)
        mean, raw = jnp.split(layers(observation), 2, axis=-1)
        low, high = self.config.log_std_min, self.config.log_std_max
        return TanhGaussian(mean, jnp.exp(low + (high - low) / 2 * (1 + jnp.tanh(raw))))

    def operations(self, variables: Params) -> list[Operation]:
        layers = mlp_operations(variables["params"]["MLP_0"], _ACTIVATION, self.action_size)
        return [*layers, Operation("tanh")]


def networks(config: Config, action_size: int) -> Networks:
    """Return the released actor, and critics of distributions."""
    layers = config.critic_widths, config.atoms, _ACTIVATION, True
    return Networks(Actor(action_size, config), Critics(config.num_critics, layers))


def optimizers(config: Config) -> Optimizers:
    """Return AdamW; log alpha decays by PyTorch's default of 0.01, as released."""
    adamw = partial(optax.adamw, b2=config.adam_b2)
    network = partial(adamw, weight_decay=config.weight_decay)
    alpha = adamw(config.alpha_lr, weight_decay=0.01)
    return Optimizers(network(config.policy_lr), network(config.q_lr), alpha)


def temperature(
    params: Params, state: TrainState, batch: Batch, key: Key, **static: Any
) -> tuple[Scalar, Metrics]:
    """Return soft actor-critic's loss of log alpha, at s' and the action of the critics' targets.

    Key and actor are those of the critics' loss, so the compiler computes that forward pass once.
    """
    there = batch._replace(observation=batch.next_observation)
    return sac.temperature_loss(params, state, there, key, **static)


values = categorical.mean
losses = Losses(
    partial(categorical.critic_loss, bootstrap=lambda logits, _: logits, total=True),
    partial(categorical.actor_loss, over_critics=jnp.mean),
    temperature,
    alpha_with_critics=True,
)
