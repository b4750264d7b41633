"""CrossQ: wide critics with BatchNorm and no target critics.

The authors' code is followed, but for the log-probability of an action, which is ours. Its networks
have BatchRenorm, which is BatchNorm for the first 100,000 gradient steps.

References:
  Bhatt et al., 2024, CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample
  Efficiency and Simplicity, arXiv:1902.05605 (code: adityab/CrossQ).
  Ioffe, 2017, Batch Renormalization, arXiv:1702.03275.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac import config as config_lib
from mjx_sac import losses as sac
from mjx_sac.algorithms import batch_norm
from mjx_sac.algorithms.base import Optimizers
from mjx_sac.algorithms.blocks import BatchNorm, ensemble, norm_operation
from mjx_sac.config.fields import Int, Widths
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks, TanhGaussian, copies
from mjx_sac.networks.products import Dense
from mjx_sac.types import Batch, Key, Metrics, Operation, Params, Scalar, TrainState, Variables

_EPSILON = 1e-3
_dense = partial(Dense, kernel_init=nn.initializers.lecun_normal())
_norm = partial(BatchNorm, epsilon=_EPSILON, unbiased=False, renorm_after=100_000)


class Config(config_lib.Config):
    """The released hyperparameters (train.py)."""

    unused = ("activation", "critic_layer_norm", "hidden_sizes", "target_delay", "tau")

    num_envs: Int = 1
    policy_lr: float = 1e-3
    q_lr: float = 1e-3
    alpha_lr: float = 1e-3
    policy_delay: Int = 3
    warm_up_steps: Int = 5_000
    normalize_observations: bool = False
    actor_widths: Widths = Field((256, 256), description="widths of the actor's hidden layers")
    critic_widths: Widths = Field((2048, 2048), description="widths of the critics' hidden layers")
    adam_b1: float = Field(0.5, description="Adam's decay of mean gradients", ge=0, lt=1)


class MLP(nn.Module):
    """BatchNorm, then dense layers, each with ReLU and BatchNorm."""

    widths: tuple[int, ...]
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        x = _norm(self.train)(x)
        for width in self.widths:
            x = _norm(self.train)(nn.relu(_dense(width)(x)))
        return x


class Actor(nn.Module):
    """Observation -> distribution over actions in (-1, 1), its log deviation cut to [-20, 2]."""

    action_size: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(
        self, observation: Float[Array, "batch observation"], train: bool = False
    ) -> TanhGaussian:
        x = MLP(self.widths, train)(observation)
        mean, log_std = (_dense(self.action_size)(x) for _ in range(2))
        return TanhGaussian(mean, jnp.exp(jnp.clip(log_std, -20, 2)))

    def operations(self, variables: Params) -> list[Operation]:
        params, stats = variables["params"]["MLP_0"], variables["batch_stats"]["MLP_0"]
        norm = partial(norm_operation, params, stats, epsilon=_EPSILON)
        layers = [norm(0)]
        for i in range(len(self.widths)):
            dense = Operation("affine", **params[f"Dense_{i}"])
            layers += [dense, Operation("relu"), norm(i + 1)]
        head = Operation("affine", **variables["params"]["Dense_0"])
        return [*layers, head, Operation("tanh")]


class Value(nn.Module):
    """One critic."""

    widths: tuple[int, ...]
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, " batch"]:
        return jnp.squeeze(_dense(1)(MLP(self.widths, self.train)(x)), axis=-1)


class Critic(nn.Module):
    """All critics: (observation, action) -> a value for each."""

    config: Config

    @nn.compact
    def __call__(
        self,
        observation: Float[Array, "batch observation"],
        action: Float[Array, "batch action"],
        train: bool = False,
    ) -> Float[Array, "batch critics"]:
        n = self.config.num_critics
        values = ensemble(Value, n)(self.config.critic_widths, train)
        return values(*copies(n, jnp.concatenate([observation, action], axis=-1))).T


def networks(config: Config, action_size: int) -> Networks:
    """Return the paper's actor and critics."""
    return Networks(Actor(action_size, config.actor_widths), Critic(config))


def optimizers(config: Config) -> Optimizers:
    """Return Adam, with less momentum than usual for the networks (table 1)."""
    adam = partial(optax.adam, b1=config.adam_b1)
    return Optimizers(adam(config.policy_lr), adam(config.q_lr), optax.adam(config.alpha_lr))


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics, Variables]:
    """Return half the squared error to the soft Bellman target, summed over critics.

    (s, a) and (s', a') pass through the critics together, and the target is their own (figure 1).
    """
    policy = networks.actor.apply(state.actor, batch.next_observation)
    next_action, next_log_prob = policy.sample(key)
    observation = jnp.concatenate([batch.observation, batch.next_observation])
    both = observation, jnp.concatenate([batch.action, next_action])
    q, variables = batch_norm.by_batch(networks.critic, params, state.critic_variables, *both)
    q, next_q = jnp.split(q, 2)
    reward, alpha = config.reward_scale * batch.reward, jnp.exp(state.log_alpha)
    given = reward, batch.discount, jax.lax.stop_gradient(next_q), next_log_prob, alpha
    target = sac.soft_bellman_target(*given)
    loss = 0.5 * jnp.mean(jnp.sum(jnp.square(q - target[:, None]), axis=-1))
    return loss, sac.critic_metrics(loss, q, target, batch), Variables(critic=variables)


losses = Losses(critic, batch_norm.actor_loss, batch_norm.temperature_loss, target_critics=False)
