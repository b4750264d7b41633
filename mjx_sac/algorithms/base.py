"""The default gradient step, which an algorithm's losses plug into: `init` a state, `update` it."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32, UInt32

from mjx_sac.config import Config
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.types import Key, Metrics, Params, Scalar, TrainState, Transition

AdamStep = tuple[Int32[Array, ""], Float[Array, " moments"]]
_DECAYS, _EPSILON = (0.9, 0.999), 1e-8  # optax.adam's


def init(
    key: Key,
    observation_size: int,
    action_size: int,
    *,
    networks: Networks,
    config: Config,
    losses: Losses | None = None,
) -> TrainState:
    """Fresh networks; the targets equal what they follow."""
    actor_key, critic_key = jax.random.split(key)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))
    actor_params = networks.actor.init(actor_key, observation)
    critic_params = networks.critic.init(critic_key, observation, action)
    log_alpha = jnp.log(jnp.float32(config.initial_alpha))
    return TrainState(
        actor_params=actor_params,
        critic_params=critic_params,
        # A copy, not an alias: the epoch donates its state, and one buffer cannot be donated twice.
        target_critic_params=jax.tree.map(jnp.copy, critic_params),
        log_alpha=log_alpha,
        actor_optimizer=optax.adam(config.policy_lr).init(actor_params),
        critic_optimizer=optax.adam(config.q_lr).init(critic_params),
        alpha_optimizer=optax.adam(config.alpha_lr).init(log_alpha),
        since_target_update=jnp.zeros((), jnp.int32),
        since_actor_update=jnp.zeros((), jnp.int32) if config.policy_delay > 1 else None,
        target_actor_params=jax.tree.map(jnp.copy, actor_params)
        if losses and losses.target_actor
        else None,
    )


def update(
    state: TrainState,
    batch: Transition,
    keys: UInt32[Array, "2 2"],
    *,
    networks: Networks,
    config: Config,
    losses: Losses,
) -> tuple[TrainState, Metrics]:
    """One gradient step of the critics, then of the actor on the new critics and of the temperature.

    Args:
      state: what changes.
      batch: transitions with normalised observations, batch axis first.
      keys: one for the actions that the critics' loss draws, one for the other two losses. A pair, because splitting one here
        would cost another 2 % of the update on a CPU.
      networks: the modules whose parameters are in `state`.
      config: learning rates, `tau`, the two delays and what the losses read.
      losses: the algorithm.
    """
    critic_key, actor_key = keys
    static = {"networks": networks, "config": config}

    def grad(loss: Any, params: Params, loss_key: Key) -> tuple[Params, Metrics]:
        return jax.grad(loss, has_aux=True)(params, state, batch, loss_key, **static)

    critic_step, actor_step, alpha_step = _count(
        (state.critic_optimizer, state.actor_optimizer, state.alpha_optimizer)
    )
    with jax.default_matmul_precision(config.matmul_precision):
        gradient, metrics = grad(losses.critic, state.critic_params, critic_key)
        critic_params, critic_optimizer = _adam(
            config.q_lr, gradient, state.critic_optimizer, state.critic_params, critic_step
        )
        state = state.replace(critic_params=critic_params, critic_optimizer=critic_optimizer)

        actor_gradient, actor_metrics = grad(losses.actor, state.actor_params, actor_key)
        alpha_gradient, alpha_metrics = grad(losses.temperature, state.log_alpha, actor_key)
    actor_params, actor_optimizer = _adam(
        config.policy_lr, actor_gradient, state.actor_optimizer, state.actor_params, actor_step
    )
    log_alpha, alpha_optimizer = _adam(
        config.alpha_lr, alpha_gradient, state.alpha_optimizer, state.log_alpha, alpha_step
    )
    moved = state.replace(
        actor_params=actor_params,
        actor_optimizer=actor_optimizer,
        log_alpha=log_alpha,
        alpha_optimizer=alpha_optimizer,
    )
    return _update_targets(_delay(state, moved, config), config), {
        **metrics,
        **actor_metrics,
        **alpha_metrics,
    }


def _delay(state: TrainState, moved: TrainState, config: Config) -> TrainState:
    """`moved` every `policy_delay` gradient steps, in between `state`."""
    if state.since_actor_update is None:
        return moved
    since = state.since_actor_update + 1
    due = since >= config.policy_delay
    # Computed every time and thrown away, for want of a conditional: see `_update_targets`.
    state = jax.tree.map(lambda old, new: jnp.where(due, new, old), state, moved)
    return state.replace(since_actor_update=jnp.where(due, 0, since))


def _count(optimizers: tuple[Any, ...]) -> list[AdamStep]:
    """For each optimizer the number of its next step, and what its two moments are divided by then for having started at zero.

    All at once, and behind a barrier: a GPU runs updates of arrays of one shape in one kernel where they read the same array. Where
    they read the same scalars XLA sees nothing to be gained.
    """
    counts = cast(
        Array, jax.lax.optimization_barrier(jnp.stack([moments.count for moments, _ in optimizers]))
    )
    steps = jnp.asarray(optax.safe_increment(counts))
    corrections = jax.lax.optimization_barrier(1 - jnp.array([_DECAYS]) ** steps[:, None])
    return list(zip(steps, corrections, strict=True))


def _adam(
    learning_rate: float | Scalar,
    gradient: Params,
    optimizer: Any,
    params: Params,
    step: AdamStep,
) -> tuple[Params, Any]:
    """A step of `optax.adam`, bit for bit and on its state, written for `_count`."""
    moments, rest = optimizer
    count, (first, second) = step
    mu = jax.tree.map(lambda m, g: (1 - _DECAYS[0]) * g + _DECAYS[0] * m, moments.mu, gradient)
    nu = jax.tree.map(
        lambda v, g: (1 - _DECAYS[1]) * jnp.square(g) + _DECAYS[1] * v, moments.nu, gradient
    )
    params = jax.tree.map(
        lambda p, m, v: p - learning_rate * (m / (first * (jnp.sqrt(v / second) + _EPSILON))),
        params,
        mu,
        nu,
    )
    return params, (moments._replace(count=count, mu=mu, nu=nu), rest)


def _update_targets(state: TrainState, config: Config) -> TrainState:
    """Target += tau (critic - target), likewise for the actor where it has a target, every `target_delay` gradient steps."""
    since, tau = jnp.zeros((), jnp.int32), jnp.float32(config.tau)
    if config.target_delay > 1:
        since = state.since_target_update + 1
        due = since >= config.target_delay  # not ==: a run may go on with a shorter delay
        # Multiplying by zero instead of branching keeps a conditional, and a GPU's wait for the host, out of the update.
        since, tau = jnp.where(due, 0, since), jnp.where(due, tau, 0.0)
    if state.target_actor_params is not None:
        targets = optax.incremental_update(state.actor_params, state.target_actor_params, tau)
        state = state.replace(target_actor_params=targets)
    return state.replace(
        target_critic_params=optax.incremental_update(
            state.critic_params, state.target_critic_params, tau
        ),
        since_target_update=since,
    )
