"""XQC: plain layers with BatchNorm, kernels of norm 1, a categorical critic.

Departures from the paper's code: `discount` is given, where its is 1 - 5 / T for episodes of T
decisions, within [0.95, 0.995] (the default is that of T = 1,000); actor and temperature move on
the third, sixth, ... gradient step, where its move on the first, fourth, ...; no gain of initial
kernels, which the projection takes away at once.

References:
  Palenicek et al., 2026, XQC: Well-conditioned Optimization Accelerates Deep Reinforcement
  Learning, arXiv:2509.25174 (code: danielpalenicek/xqc).
  Bhatt et al., 2024, CrossQ, arXiv:1902.05605: (s, a) and (s', a') through one BatchNorm.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac.algorithms import batch_norm, categorical
from mjx_sac.algorithms.blocks import (
    BatchNorm,
    UnitDense,
    linear_decay,
    norm_operation,
    unit_kernels,
)
from mjx_sac.config.fields import Int, Widths
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks, TanhGaussian
from mjx_sac.types import Batch, Key, Metrics, Operation, Params, Scalar, TrainState, Variables

optimizers = linear_decay
project = unit_kernels

_EPSILON = 1e-3
_norm = partial(BatchNorm, epsilon=_EPSILON, unbiased=False)


class Config(categorical.Config):
    """The released hyperparameters (conf/agent/base_agent.yaml, conf/config.yaml)."""

    unused = ("hidden_sizes", "activation", "critic_layer_norm")

    num_envs: Int = 1
    discount: float = 0.995
    warm_up_steps: Int = 5_000
    updates_per_iteration: float = 2.0
    policy_delay: Int = 3
    initial_alpha: float = 0.01
    normalize_observations: bool = False
    normalize_rewards: bool = True
    actor_widths: Widths = Field((256,) * 4, description="widths of the actor's hidden layers")
    critic_widths: Widths = Field((512,) * 4, description="widths of the critics' hidden layers")
    final_lr: float = Field(0.1, description="share to which rates fall in a line", ge=0, le=1)


class Trunk(nn.Module):
    """Features of a flat input: BatchNorm, then dense layers, each with BatchNorm and ReLU."""

    widths: tuple[int, ...]
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        x = _norm(self.train)(x)
        for width in self.widths:
            x = nn.relu(_norm(self.train)(UnitDense(width)(x)))
        return x


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), its log deviation cut to [-10, 2]."""

    action_size: int
    config: Config

    @nn.compact
    def __call__(
        self, observation: Float[Array, "batch observation"], train: bool = False
    ) -> TanhGaussian:
        x = Trunk(self.config.actor_widths, train)(observation)
        mean, log_std = (UnitDense(self.action_size, bias=True)(x) for _ in range(2))
        return TanhGaussian(mean, jnp.exp(jnp.clip(log_std, -10, 2)))

    def operations(self, variables: Params) -> list[Operation]:
        params, stats = variables["params"]["Trunk_0"], variables["batch_stats"]["Trunk_0"]
        norm = partial(norm_operation, params, stats, epsilon=_EPSILON)
        layers = [norm(0)]
        for i in range(len(self.config.actor_widths)):
            kernel = params[f"UnitDense_{i}"]["kernel"]
            layers += [Operation("affine", kernel=kernel, bias=0), norm(i + 1), Operation("relu")]
        head = Operation("affine", **variables["params"]["UnitDense_0"])
        return [*layers, head, Operation("tanh")]


def networks(config: Config, action_size: int) -> Networks:
    """Return the paper's actor and critics."""
    trunk = partial(Trunk, config.critic_widths)
    return Networks(Actor(action_size, config), categorical.Critic(config, trunk))


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics, Variables]:
    """Return the cross-entropy to the projected soft target, a sum over critics.

    The actor's running statistics follow every batch, also where the actor itself does not move.
    """
    loss, metrics, variables = categorical.critic_loss(
        params, state, batch, key, networks=networks, config=config, total=True
    )
    seen = batch_norm.act(state.actor_params, state, batch, key, networks, joint=False)[2]
    return loss, metrics, variables._replace(actor=seen)


def actor(*args: Any, **static: Any) -> tuple[Scalar, Metrics]:
    """Return alpha log pi(a|s) - min_i Q_i(s, a), on the new critics."""
    loss, metrics, _ = categorical.actor_loss(*args, **static)
    return loss, metrics


values = categorical.mean
losses = Losses(critic, actor, partial(batch_norm.temperature_loss, per_action=-0.5))
