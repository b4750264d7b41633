"""Critics that predict a distribution over returns, on fixed atoms.

References:
  Bellemare et al., 2017, A Distributional Perspective on Reinforcement Learning,
  arXiv:1707.06887.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field

from mjx_sac import config as config_lib
from mjx_sac import losses as sac
from mjx_sac.algorithms import batch_norm
from mjx_sac.algorithms.blocks import UnitDense, ensemble
from mjx_sac.config.fields import Int
from mjx_sac.networks import Networks, copies
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState, Variables


class Config(config_lib.Config):
    """Where the atoms lie, in returns as the critics see them: scaled."""

    ascending = (("v_min", "v_max"),)

    atoms: Int = Field(101, description="atoms of the critics' distributions", ge=2)
    v_min: float = Field(-5.0, description="return of the first atom")
    v_max: float = Field(5.0, description="return of the last atom")


class Value(nn.Module):
    """One critic: `trunk(train)` makes its layers below the logits."""

    atoms: int
    trunk: Callable[[bool], nn.Module]
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch atoms"]:
        return UnitDense(self.atoms, bias=True)(self.trunk(self.train)(x))


class Critic(nn.Module):
    """All critics: (observation, action) -> logits of the atoms."""

    config: Config
    trunk: Callable[[bool], nn.Module]

    @nn.compact
    def __call__(
        self,
        observation: Float[Array, "batch observation"],
        action: Float[Array, "batch action"],
        train: bool = False,
    ) -> Float[Array, "critics batch atoms"]:
        values = ensemble(Value, self.config.num_critics)(self.config.atoms, self.trunk, train)
        both = jnp.concatenate([observation, action], axis=-1)
        return values(*copies(self.config.num_critics, both))


def support(config: Config) -> Float[Array, " atoms"]:
    """Return the atoms' returns, evenly spaced."""
    return jnp.linspace(config.v_min, config.v_max, config.atoms)


def mean(logits: Float[Array, "*batch atoms"], config: Config) -> Float[Array, "*batch"]:
    """Return expected returns; raise ValueError where these are no logits of `config.atoms`."""
    if (found := logits.shape[-1]) != config.atoms:
        raise ValueError(f"critics return {found} numbers for a row, not atoms = {config.atoms}")
    return expected(jax.nn.softmax(logits), config)


def expected(probabilities: Float[Array, "*batch atoms"], config: Config) -> Float[Array, "*batch"]:
    """Return expected returns, in float32 whatever `matmul_precision` says."""
    return jnp.matmul(probabilities, support(config), precision="highest")


def smallest(
    logits: Float[Array, "critics batch atoms"], config: Config
) -> Float[Array, "1 batch atoms"]:
    """Return for each row the logits of the critic whose mean is the smallest."""
    which = jnp.argmin(mean(logits, config), axis=0)
    return jnp.take_along_axis(logits, which[None, :, None], axis=0)


def soft_targets(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    next_logits: Float[Array, "critics batch atoms"],
    next_log_prob: Float[Array, " batch"],
    alpha: Scalar,
    config: Config,
) -> Float[Array, "critics batch atoms"]:
    """Return the distributions of the soft Bellman targets, projected on the atoms.

    Their atoms are z = r + discount (atom - alpha log pi(a'|s')), with the probabilities that the
    logits at (s', a') mean. The arguments are those of `losses.soft_bellman_target`.
    """
    entropy_bonus = (alpha * next_log_prob)[:, None]
    returns = reward[:, None] + discount[:, None] * (support(config) - entropy_bonus)
    return jnp.stack([project(row, returns, config) for row in jax.nn.softmax(next_logits)])


def project(
    probabilities: Float[Array, "batch atoms"],
    returns: Float[Array, "batch atoms"],
    config: Config,
) -> Float[Array, "batch atoms"]:
    """Move each probability from its return to the two atoms around, the nearer getting more.

    Returns beyond the first or last atom count as that one; equation 7.
    """
    rows, last = jnp.arange(len(returns))[:, None], config.atoms - 1
    width = (config.v_max - config.v_min) / last
    position = (jnp.clip(returns, config.v_min, config.v_max) - config.v_min) / width
    below = jnp.clip(jnp.floor(position), 0, last - 1)
    share = position - below
    pairs = probabilities[..., None] * jnp.stack([1 - share, share], axis=-1)
    # One scatter of pairs: a tent for every pair of atoms takes twelve times as long on a CPU.
    empty = jnp.zeros((len(returns), last, 2))
    summed = empty.at[rows, below.astype(jnp.int32)].add(pairs)
    return jnp.pad(summed[..., 0], ((0, 0), (0, 1))) + jnp.pad(summed[..., 1], ((0, 0), (1, 0)))


def cross_entropy(
    logits: Float[Array, "critics batch atoms"], target: Float[Array, "*#critics batch atoms"]
) -> Float[Array, "critics batch"]:
    """Return the cross-entropy of each critic's prediction to the target, or to its own."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def fit(
    logits: Float[Array, "critics batch atoms"],
    target: Float[Array, "*#critics batch atoms"],
    batch: Batch,
    config: Config,
    *,
    total: bool = False,
) -> tuple[Scalar, Metrics]:
    """Return the cross-entropy, a mean over batch and critics, or a `total` of these; metrics."""
    loss = (config.num_critics if total else 1) * jnp.mean(cross_entropy(logits, target))
    q, aim = mean(logits, config).T, expected(target, config).T
    return loss, sac.critic_metrics(loss, q, aim, batch)


def critic_loss(
    params: Params,
    state: TrainState,
    batch: Batch,
    key: Key,
    *,
    networks: Networks,
    config: Config,
    bootstrap: Callable[[Array, Any], Array] = smallest,
    total: bool = False,
) -> tuple[Scalar, Metrics, Variables]:
    """Return the cross-entropy to targets, a mean over batch and critics, or a `total` of these.

    Targets are `soft_targets` of what `bootstrap(logits, config)` makes of the target critics'
    logits: one for all critics, or one for each. Where critics have BatchNorm, (s, a) and (s', a')
    pass through it together, targets too (CrossQ: Bhatt et al., 2024, arXiv:1902.05605, section 3;
    there without targets).
    """
    policy = networks.actor.apply(state.actor, batch.next_observation)
    next_action, next_log_prob = policy.sample(key)
    now, then = (batch.observation, batch.action), (batch.next_observation, next_action)
    if state.critic_variables is None:
        next_logits = networks.critic.apply(state.target_critic_params, *then)
        logits, variables = networks.critic.apply(params, *now), None
    else:
        both, n = [jnp.concatenate(pair) for pair in zip(now, then, strict=True)], len(next_action)
        target_critics = {**state.target_critic_params, **state.critic_variables}
        next_logits = networks.critic.apply(target_critics, *both, train=True)[:, n:]
        logits, variables = batch_norm.by_batch(
            networks.critic, params, state.critic_variables, *both
        )
        logits = logits[:, :n]
    reward, alpha = config.reward_scale * batch.reward, jnp.exp(state.log_alpha)
    given = reward, batch.discount, bootstrap(next_logits, config), next_log_prob, alpha
    target = soft_targets(*given, config)
    loss, metrics = fit(logits, target, batch, config, total=total)
    return loss, metrics, Variables(critic=variables)


actor_loss = partial(batch_norm.actor_loss, values=mean)
"""Return alpha log pi(a|s) - min_i Q_i(s, a)."""
