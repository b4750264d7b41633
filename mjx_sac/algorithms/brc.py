"""BRC: wide residual critics with layer norm, whose predicted distributions are averaged.

The authors' learner for one task: without embeddings of tasks. With the critics' width of the
released script, 4,096, a gradient step is for a GPU; the released class has 512 by default.

Departures from the authors' code: a scaled reward is divided by what the engine divides by, the
deviation of discounted sums of rewards or more where one would exceed `max_return`; theirs is the
largest discounted sum to the end of a finished episode, and takes the entropy's share into account;
initial weights are ours, though as orthogonal and as large.

References:
  Nauman et al., 2025, Bigger, Regularized, Categorical: High-Capacity Value Functions are Efficient
  Multi-Task Learners, arXiv:2505.23150 (code: naumix/BiggerRegularizedCategorical).
  Nauman et al., 2024, Bigger, Regularized, Optimistic, arXiv:2405.16158: the layers.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac.algorithms import batch_norm, categorical
from mjx_sac.algorithms.base import Optimizers
from mjx_sac.algorithms.blocks import Critics, orthogonal
from mjx_sac.config.fields import Int
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks, TanhGaussian
from mjx_sac.networks.products import Dense
from mjx_sac.types import Operation, Params


class Config(categorical.Config):
    """The released hyperparameters for one task (train.py, jaxrl/agent/brc_learner.py)."""

    unused = ("hidden_sizes", "activation", "critic_layer_norm")

    num_envs: Int = 1
    updates_per_iteration: float = 2.0
    warm_up_steps: Int = 5_000
    initial_alpha: float = 0.1
    normalize_rewards: bool = True
    max_return: float | None = 10.0
    normalize_observations: bool = False
    v_min: float = Field(-10.0, description="return of the first atom")
    v_max: float = Field(10.0, description="return of the last atom")
    num_critics: Int = Field(2, description="critics, whose distributions are averaged", gt=0)
    actor_blocks: Int = Field(1, description="residual blocks of the actor", gt=0)
    actor_width: Int = Field(256, description="width of the actor", gt=0)
    critic_blocks: Int = Field(2, description="residual blocks of each critic", gt=0)
    critic_width: Int = Field(4096, description="width of each critic", gt=0)
    weight_decay: float = Field(1e-4, description="AdamW's decay of the networks", ge=0)
    alpha_b1: float = Field(0.5, description="Adam's decay of alpha's mean gradient", ge=0, lt=1)


_dense = partial(Dense, kernel_init=partial(orthogonal, scale=2**0.5))


class BroNet(nn.Module):
    """Layers of one width, each with layer norm, the middle ones in residual blocks."""

    width: int
    blocks: int

    @nn.compact
    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Float[Array, "*batch width"]:
        x = nn.relu(self._layer(jnp.concatenate(inputs, axis=-1)))
        for _ in range(self.blocks):
            x = x + self._layer(nn.relu(self._layer(x)))
        return x

    def _layer(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch width"]:
        return nn.LayerNorm()(_dense(self.width)(x))


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), its log deviation in (-10, 2)."""

    action_size: int
    config: Config

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> TanhGaussian:
        x = BroNet(self.config.actor_width, self.config.actor_blocks)(observation)
        mean, raw = (_dense(self.action_size)(x) for _ in range(2))
        return TanhGaussian(mean, jnp.exp(-10 + 6 * (1 + jnp.tanh(raw))))

    def operations(self, variables: Params) -> list[Operation]:
        params = variables["params"]
        trunk, relu = params["BroNet_0"], Operation("relu")

        def layer(i: int) -> list[Operation]:
            norm = Operation("layer_norm", **trunk[f"LayerNorm_{i}"], eps=1e-6)
            return [Operation("affine", **trunk[f"Dense_{i}"]), norm]

        layers = [*layer(0), relu]
        for i in range(1, 2 * self.config.actor_blocks, 2):
            layers += [*layer(i), relu, *layer(i + 1), Operation("add", back=5)]
        return [*layers, Operation("affine", **params["Dense_0"]), Operation("tanh")]


class Value(nn.Module):
    """One critic: (observation, action) -> logits of the atoms."""

    config: Config

    @nn.compact
    def __call__(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch atoms"]:
        x = BroNet(self.config.critic_width, self.config.critic_blocks)(*inputs)
        return _dense(self.config.atoms)(x)


def networks(config: Config, action_size: int) -> Networks:
    """Return the released actor and critics."""
    return Networks(Actor(action_size, config), Critics(config.num_critics, (config,), Value))


def optimizers(config: Config) -> Optimizers:
    """Return AdamW for the networks, Adam for log alpha, as released."""
    network = partial(optax.adamw, weight_decay=config.weight_decay)
    alpha = optax.adam(config.alpha_lr, b1=config.alpha_b1)
    return Optimizers(network(config.policy_lr), network(config.q_lr), alpha)


def averaged(
    logits: Float[Array, "critics batch atoms"], _: Config
) -> Float[Array, "1 batch atoms"]:
    """Return logits of the mean of the critics' distributions, whose expectation is theirs."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0, keepdims=True)


values = categorical.mean
losses = Losses(
    partial(categorical.critic_loss, bootstrap=averaged, total=True),
    partial(categorical.actor_loss, over_critics=jnp.mean),
    partial(batch_norm.temperature_loss, per_action=-0.5),
)
