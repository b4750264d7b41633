"""FastTD3: TD3 with categorical critics and noise of another size in each of many environments.

The defaults are those released for MuJoCo Playground, but for its regime: a thousand environments
on a GPU are in configs/playground_locomotion.toml. `v_min` and `v_max` are bounds of a task's
returns: --normalize_rewards --max_return 10 scales rewards to these instead.

Departures from the authors' code: actions are cut to [-1, 1] before the replay buffer, not after
it; warm-up takes uniform actions; observations are normalised as everywhere here; initial weights
are ours, but for the actor's last layer; an actor's rate falls over its own steps; float32.

References:
  Seo et al., 2025, FastTD3: Simple, Fast, and Capable Reinforcement Learning for Humanoid Control,
  arXiv:2505.22642 (code: younggyoseo/FastTD3).
  Fujimoto et al., 2018, Addressing Function Approximation Error in Actor-Critic Methods,
  arXiv:1802.09477: smoothed targets, and an actor that waits.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from pydantic import Field

from mjx_sac.algorithms import categorical, td3
from mjx_sac.algorithms.base import Exploration, Optimizers
from mjx_sac.algorithms.blocks import Critics
from mjx_sac.config.fields import Int, Widths
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Config(categorical.Config):
    """The released hyperparameters (hyperparams.py, MuJoCoPlaygroundArgs); noise is in units of
    actions in [-1, 1], and `hidden_sizes` are the actor's.
    """

    unused = td3.Config.unused
    ascending = (*categorical.Config.ascending, ("std_min", "std_max"))

    discount: float = 0.97
    tau: float = 0.1
    policy_delay: Int = 2
    v_min: float = Field(-10.0, description="return of the first atom")
    v_max: float = Field(10.0, description="return of the last atom")
    hidden_sizes: Widths = (512, 256, 128)
    critic_widths: Widths = Field((1024, 512, 256), description="widths of critics' hidden layers")
    clipped_double_q: bool = Field(
        True, description="the smallest value counts; otherwise the mean, and each critic's target"
    )
    std_min: float = Field(0.001, description="least deviation of exploration noise", ge=0)
    std_max: float = Field(0.4, description="largest deviation of exploration noise", ge=0)
    target_noise: float = Field(0.001, description="deviation of the targets' noise", ge=0)
    target_noise_clip: float = Field(0.5, description="bound of the targets' noise", ge=0)
    weight_decay: float = Field(0.1, description="AdamW's decay of the networks", ge=0)
    final_lr: float = Field(1.0, description="share to which rates fall by a cosine", ge=0, le=1)


def networks(config: Config, action_size: int) -> Networks:
    """Return a deterministic actor, and critics of distributions.

    Outside training a sampled action has noise of the middle deviation.
    """
    middle = (config.std_min + config.std_max) / 2
    layers = config.critic_widths, config.atoms, config.activation, config.critic_layer_norm
    return Networks(
        td3.Actor(action_size, config, middle, nn.initializers.normal(0.01)),
        Critics(config.num_critics, layers),
    )


def optimizers(config: Config) -> Optimizers:
    """Return AdamW at learning rates that fall by a cosine over the schedule.

    Each optimizer counts its own steps, of which an actor that waits has fewer.
    """

    def adamw(learning_rate: float | Scalar, every: int) -> optax.GradientTransformation:
        steps = max(config.schedule_updates // every, 1)
        schedule = optax.cosine_decay_schedule(learning_rate, steps, config.final_lr)
        return optax.adamw(schedule, weight_decay=config.weight_decay)

    actor = adamw(config.policy_lr, config.policy_delay)
    return Optimizers(actor, adamw(config.q_lr, 1), optax.set_to_zero())


def critic(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return the cross-entropy to the smoothed, projected target, a sum over critics.

    Its distribution is that of the target critic whose mean, once projected, is the smallest.
    """
    action = networks.actor.apply(state.actor_params, batch.next_observation).mode()
    then = batch.next_observation, td3.smoothed(action, key, config)
    next_logits = networks.critic.apply(state.target_critic_params, *then)
    no_bonus = jnp.zeros_like(batch.reward), jnp.float32(0)
    given = config.reward_scale * batch.reward, batch.discount, next_logits, *no_bonus
    target = categorical.soft_targets(*given, config)
    if config.clipped_double_q:
        smallest = jnp.argmin(categorical.expected(target, config), axis=0)
        target = jnp.take_along_axis(target, smallest[None, :, None], axis=0)[0]
    logits = networks.critic.apply(params, batch.observation, batch.action)
    return categorical.fit(logits, target, batch, config, total=True)


def actor(
    params: Params, state: TrainState, batch: Batch, key: Key, *, networks: Networks, config: Config
) -> tuple[Scalar, Metrics]:
    """Return minus the critics' smallest, or mean, value of the actor's action."""
    del key
    action = networks.actor.apply(params, batch.observation).mode()
    logits = networks.critic.apply(state.critic_params, batch.observation, action)
    over_critics = jnp.min if config.clipped_double_q else jnp.mean
    loss = -jnp.mean(over_critics(categorical.mean(logits, config), axis=0))
    return loss, {"train/actor_loss": loss, "diagnostics/action": action}


values = categorical.mean
losses = Losses(critic, actor, td3.temperature)

Deviations = Float[Array, "num_envs 1"]
"""Of exploration noise, for each environment."""


def _act(
    distribution: td3.Deterministic,
    std: Deviations,
    started: Bool[Array, " num_envs"],
    key: Key,
    config: Config,
) -> tuple[Float[Array, "num_envs action"], Deviations]:
    """Act with noise whose deviation is drawn, evenly, when an episode starts, and kept in it."""
    noise_key, std_key = jax.random.split(key)
    drawn = jax.random.uniform(std_key, std.shape, std.dtype, config.std_min, config.std_max)
    std = jnp.where(started[:, None], drawn, std)
    noise = std * jax.random.normal(noise_key, distribution.mean.shape)
    return jnp.clip(distribution.mode() + noise, -1, 1), std


explore = Exploration(lambda key, num_envs, *_: jnp.zeros((num_envs, 1)), _act)
