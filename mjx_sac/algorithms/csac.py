"""CSAC: soft actor-critic with categorical critics, for a high return per hour on a small machine.

Ours, put together from parts of others'. Of what makes FlashSAC and XQC learn so much more per
transition it takes what costs little: critics that predict a distribution, with layer norm; rewards
scaled by their discounted sum, so that no bound has to be tuned; a temperature that starts low and
aims at a deviation; three-step returns; larger steps. Layers stay as small as soft actor-critic's,
and the actor moves every second time.

References:
  Bellemare et al., 2017, A Distributional Perspective on Reinforcement Learning,
  arXiv:1707.06887: the critics.
  Hiraoka et al., 2021, Dropout Q-Functions for Doubly Efficient Reinforcement Learning,
  arXiv:2110.02034: layer norm in them.
  Kim et al., 2026, FlashSAC (code: Holiday-Robot/FlashSAC): scaled rewards, the target entropy.
"""

from mjx_sac.algorithms import categorical
from mjx_sac.algorithms.blocks import Critics
from mjx_sac.config.fields import Int
from mjx_sac.losses import Losses
from mjx_sac.networks import Actor, Networks


class Config(categorical.Config):
    """Where it differs from soft actor-critic."""

    num_envs: Int = 1
    policy_lr: float = 1e-3
    q_lr: float = 1e-3
    alpha_lr: float = 1e-3
    initial_alpha: float = 0.01
    target_std: float | None = 0.15
    normalize_rewards: bool = True
    max_return: float | None = 5.0
    n_step: Int = 3
    policy_delay: Int = 2
    warm_up_steps: Int = 5_000
    critic_layer_norm: bool = True


def networks(config: Config, action_size: int) -> Networks:
    """Return soft actor-critic's actor, and critics of distributions."""
    actor = Actor(action_size, config.hidden_sizes, config.activation)
    layers = config.hidden_sizes, config.atoms, config.activation, config.critic_layer_norm
    return Networks(actor, Critics(config.num_critics, layers))


values = categorical.mean
losses = Losses(categorical.critic_loss, categorical.actor_loss)
