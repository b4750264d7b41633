"""SimbaV2: features and kernels of norm 1, categorical critics.

For tasks without an end by failure the authors have one critic: `--num_critics 1`. Their `discount`
is 1 - 5 / T for episodes of T decisions, within [0.95, 0.995]; the default is that of T = 1,000.

References:
  Lee et al., 2025, Hyperspherical Normalization for Scalable Deep Reinforcement Learning,
  arXiv:2502.15280 (code: DAVIAN-Robotics/SimbaV2).
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac.algorithms import batch_norm, categorical
from mjx_sac.algorithms.blocks import UnitDense, linear_decay, unit_kernels
from mjx_sac.config.fields import Int
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks, TanhGaussian
from mjx_sac.types import Operation, Params

optimizers = linear_decay
project = unit_kernels

_SHIFT = 3.0
"""A number beside the observation: its direction keeps what its length was (equation 7)."""
_EXPANSION = 4
_EPSILON = 1e-8


class Config(categorical.Config):
    """The released hyperparameters (configs/agent/simbaV2.yaml, configs/online_rl.yaml)."""

    unused = ("hidden_sizes", "activation", "critic_layer_norm")

    num_envs: Int = 1
    policy_lr: float = 1e-4
    q_lr: float = 1e-4
    alpha_lr: float = 1e-4
    discount: float = 0.995
    warm_up_steps: Int = 5_000
    initial_alpha: float = 0.01
    normalize_rewards: bool = True
    max_return: float | None = 5.0
    actor_blocks: Int = Field(1, description="residual blocks of the actor", gt=0)
    actor_width: Int = Field(128, description="width of the actor", gt=0)
    critic_blocks: Int = Field(2, description="residual blocks of each critic", gt=0)
    critic_width: Int = Field(512, description="width of each critic", gt=0)
    final_lr: float = Field(0.5, description="share to which rates fall in a line", ge=0, le=1)


def _l2(x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), _EPSILON)


class Scale(nn.Module):
    """A factor per feature that is `initial` at first, and learned as if it were `size` then."""

    initial: float = 1.0
    size: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        scale = self.param("scale", nn.initializers.constant(self.size), x.shape[-1:])
        return scale * (self.initial / self.size) * x


class Trunk(nn.Module):
    """Features of norm 1: an embedding (equations 7 to 9), then blocks (equations 10 to 12)."""

    width: int
    blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch width"]:
        size, step = (2 / self.width) ** 0.5, 1 / (self.blocks + 1)
        x = _l2(jnp.concatenate([x, jnp.full((*x.shape[:-1], 1), _SHIFT)], axis=-1))
        x = _l2(Scale(size, size)(UnitDense(self.width)(x)))
        size /= _EXPANSION**0.5
        for _ in range(self.blocks):
            h = Scale(size, size)(UnitDense(_EXPANSION * self.width)(x))
            h = _l2(UnitDense(self.width)(nn.relu(h) + _EPSILON))
            x = _l2(x + Scale(step, self.width**-0.5)(h - x))
        return x


class Hidden(nn.Module):
    """The first layer of a head."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return Scale()(UnitDense(self.width)(x))


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), its log deviation in (-10, 2)."""

    action_size: int
    config: Config

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> TanhGaussian:
        x = Trunk(self.config.actor_width, self.config.actor_blocks)(observation)
        hidden = [Hidden(self.config.actor_width)(x) for _ in range(2)]
        mean, raw = (UnitDense(self.action_size, bias=True)(h) for h in hidden)
        return TanhGaussian(mean, jnp.exp(-10 + 6 * (1 + jnp.tanh(raw))))

    def operations(self, variables: Params) -> list[Operation]:
        """Return what `mode()` computes, for export.

        x + a (h - x) is (x + h a / (1 - a)) (1 - a).
        """
        width, blocks = self.config.actor_width, self.config.actor_blocks
        params = variables["params"]
        trunk, l2 = params["Trunk_0"], Operation("l2_norm", eps=_EPSILON)

        def dense(layer: Any) -> Operation:
            return Operation("affine", kernel=layer["kernel"], bias=layer.get("bias", 0))

        def scale(factor: Any, offset: float = 0) -> Operation:
            return Operation("scale", center=0, factor=np.asarray(factor), offset=offset)

        n = len(trunk["UnitDense_0"]["kernel"])
        shift = Operation("affine", kernel=np.eye(n - 1, n), bias=_SHIFT * np.eye(n)[-1])
        layers = [shift, l2, dense(trunk["UnitDense_0"]), scale(trunk["Scale_0"]["scale"]), l2]
        for i in range(1, 2 * blocks, 2):
            step = np.asarray(trunk[f"Scale_{i + 1}"]["scale"]) * width**0.5 / (blocks + 1)
            layers += [
                *(dense(trunk[f"UnitDense_{i}"]), scale(trunk[f"Scale_{i}"]["scale"])),
                *(Operation("relu"), scale(1, _EPSILON), dense(trunk[f"UnitDense_{i + 1}"]), l2),
                *(scale(step / (1 - step)), Operation("add", back=7), scale(1 - step), l2),
            ]
        hidden = params["Hidden_0"]
        head = dense(hidden["UnitDense_0"]), scale(hidden["Scale_0"]["scale"])
        return [*layers, *head, dense(params["UnitDense_0"]), Operation("tanh")]


class Features(nn.Module):
    """What a critic's logits are made of, for `categorical.Critic`."""

    width: int
    blocks: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        return Hidden(self.width)(Trunk(self.width, self.blocks)(x))


def networks(config: Config, action_size: int) -> Networks:
    """Return the paper's actor and critics."""
    trunk = partial(Features, config.critic_width, config.critic_blocks)
    return Networks(Actor(action_size, config), categorical.Critic(config, trunk))


values = categorical.mean
losses = Losses(
    partial(categorical.critic_loss, total=True),
    categorical.actor_loss,
    partial(batch_norm.temperature_loss, per_action=-0.5),
    actor_first=True,
)
