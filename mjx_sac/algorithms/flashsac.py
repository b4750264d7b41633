"""FlashSAC: normalised residual networks, categorical critics, noise that is held.

The defaults are the paper's for one environment on a CPU simulator; its thousand environments on a
GPU are `--num_envs 1024 --updates_per_iteration 2/1024 --batch_size 2048 --buffer_size 10e6
--warm_up_steps 100e3`. The paper's code is followed to the digit, but for: no running statistics of
the target critics, which nothing reads; the first few of the statistics by which rewards are
scaled, where its code mixes in 1e-4 of a variance of 1; float32 throughout.

References:
  Kim et al., 2026, FlashSAC (code: Holiday-Robot/FlashSAC).
  Lee et al., 2025, SimbaV2, arXiv:2502.15280: the constraint on weights and the categorical target.
  Bhatt et al., 2024, CrossQ, arXiv:1902.05605: (s, a) and (s', a') through one BatchNorm.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32
from pydantic import Field

from mjx_sac.algorithms import batch_norm, categorical
from mjx_sac.algorithms.base import Exploration
from mjx_sac.algorithms.blocks import (
    BatchNorm,
    RMSNorm,
    UnitDense,
    cosine_decay,
    norm_operation,
    unit_layers,
)
from mjx_sac.config.fields import Int
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks, TanhGaussian
from mjx_sac.types import Key, Operation, Params

optimizers = cosine_decay
project = unit_layers


class Config(categorical.Config):
    """The released hyperparameters (configs/agent/flashSAC.yaml)."""

    unused = ("hidden_sizes", "activation", "critic_layer_norm")

    num_envs: Int = 1
    batch_size: Int = 512
    initial_alpha: float = 0.01
    target_std: float | None = 0.15
    tau: float = 0.01
    policy_delay: Int = 2
    normalize_observations: bool = False
    normalize_rewards: bool = True
    max_return: float | None = 5.0
    num_blocks: Int = Field(2, description="residual blocks", gt=0)
    actor_width: Int = Field(128, description="width of the actor", gt=0)
    critic_width: Int = Field(256, description="width of each critic", gt=0)
    final_lr: float = Field(0.5, description="share to which rates fall by a cosine", ge=0, le=1)
    noise_exponent: float = Field(
        2.0, description="noise is held for n vector steps with probability ~ 1 / n^this", ge=0
    )
    noise_steps: Int = Field(16, description="vector steps that noise is held for at most", gt=0)


class Trunk(nn.Module):
    """Features of a flat input: BatchNorm, a dense layer, residual blocks, RMSNorm."""

    width: int
    num_blocks: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        x = UnitDense(self.width)(BatchNorm(self.train)(x))
        for _ in range(self.num_blocks):
            h = nn.relu(BatchNorm(self.train)(UnitDense(4 * self.width)(x)))
            x = x + nn.relu(BatchNorm(self.train)(UnitDense(self.width)(h)))
        return RMSNorm()(x)


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), its log deviation in (-10, 2)."""

    action_size: int
    config: Config

    @nn.compact
    def __call__(
        self, observation: Float[Array, "batch observation"], train: bool = False
    ) -> TanhGaussian:
        x = Trunk(self.config.actor_width, self.config.num_blocks, train)(observation)
        mean, raw = (UnitDense(self.action_size, bias=True)(x) for _ in range(2))
        return TanhGaussian(mean, jnp.exp(-10 + 6 * (1 + jnp.tanh(raw))))

    def operations(self, variables: Params) -> list[Operation]:
        params, head = variables["params"]["Trunk_0"], variables["params"]["UnitDense_0"]

        def dense(i: int) -> Operation:
            return Operation("affine", kernel=params[f"UnitDense_{i}"]["kernel"], bias=0)

        norm = partial(norm_operation, params, variables["batch_stats"]["Trunk_0"])
        layers, relu = [norm(0), dense(0)], Operation("relu")
        for i in range(1, 2 * self.config.num_blocks, 2):
            layers += [dense(i), norm(i), relu, dense(i + 1), norm(i + 1), relu]
            layers += [Operation("add", back=6)]
        scale = params["RMSNorm_0"]["scale"]
        ends = Operation("rms_norm", scale=scale, eps=1e-6), Operation("affine", **head)
        return [*layers, *ends, Operation("tanh")]


def networks(config: Config, action_size: int) -> Networks:
    """Return the paper's actor and critics."""
    trunk = partial(Trunk, config.critic_width, config.num_blocks)
    return Networks(Actor(action_size, config), categorical.Critic(config, trunk))


values = categorical.mean
losses = Losses(
    categorical.critic_loss,
    partial(categorical.actor_loss, joint=True),
    partial(batch_norm.temperature_loss, joint=True),
    actor_first=True,
)


class Noise(NamedTuple):
    """Noise of every environment, and the vector steps for which it still holds."""

    value: Float[Array, "num_envs action"]
    left: Int32[Array, ""]


def _hold(
    distribution: TanhGaussian,
    noise: Noise,
    started: Bool[Array, " num_envs"],
    key: Key,
    config: Config,
) -> tuple[Float[Array, "num_envs action"], Noise]:
    """Act with the noise, drawn afresh for n vector steps with P(n) ~ 1 / n^2 when it has run out.

    All environments share n, whenever their episodes begin.
    """
    del started
    value_key, length_key = jax.random.split(key)
    odds = -config.noise_exponent * jnp.log(jnp.arange(1, config.noise_steps + 1))
    length = 1 + jax.random.categorical(length_key, odds).astype(jnp.int32)
    over = noise.left == 0
    value = jnp.where(over, jax.random.normal(value_key, noise.value.shape), noise.value)
    left = jnp.where(over, length, noise.left) - 1
    return jnp.tanh(distribution.mean + distribution.std * value), Noise(value, left)


explore = Exploration(
    lambda key, num_envs, size, config: Noise(jnp.zeros((num_envs, size)), jnp.int32(0)), _hold
)
