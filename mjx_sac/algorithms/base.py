"""The default gradient step, which an algorithm's losses plug into: `init` a state, `update` it."""

from functools import partial
from typing import Any

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
    """Return freshly initialised networks and optimizers; targets equal what they follow."""
    actor_key, critic_key = jax.random.split(key)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))
    actor_params = networks.actor.init(actor_key, observation)
    critic_params = networks.critic.init(critic_key, observation, action)
    log_alpha = jnp.log(jnp.float32(config.initial_alpha))
    # Copies, not aliases: the epoch donates its state, and one buffer cannot be donated twice.
    copy = partial(jax.tree.map, jnp.copy)
    delayed, target_actor = config.policy_delay > 1, losses is not None and losses.target_actor
    return TrainState(
        actor_params=actor_params,
        critic_params=critic_params,
        target_critic_params=copy(critic_params),
        log_alpha=log_alpha,
        actor_optimizer=optax.adam(config.policy_lr).init(actor_params),
        critic_optimizer=optax.adam(config.q_lr).init(critic_params),
        alpha_optimizer=optax.adam(config.alpha_lr).init(log_alpha),
        since_target_update=jnp.zeros((), jnp.int32),
        since_actor_update=jnp.zeros((), jnp.int32) if delayed else None,
        target_actor_params=copy(actor_params) if target_actor else None,
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
    """Take one gradient step: the critics', then the actor's on the new critics and alpha's.

    Args:
      state: what changes.
      batch: transitions with normalised observations, batch axis first.
      keys: for the actions that the critics' loss draws, and for the other two losses. A pair:
        splitting one here would cost another 2 % of the update on a CPU.
      networks: the modules whose parameters are in `state`.
      config: learning rates, `tau`, the two delays, and what the losses read.
      losses: the algorithm.

    Returns:
      The next state, and the metrics of all losses.
    """
    critic_key, actor_key = keys

    def grad(loss: Any, params: Params, state: TrainState, key: Key) -> tuple[Params, Metrics]:
        args = (params, state, batch, key)
        return jax.grad(loss, has_aux=True)(*args, networks=networks, config=config)

    critic_step, actor_step, alpha_step = _count(
        (state.critic_optimizer, state.actor_optimizer, state.alpha_optimizer)
    )
    with jax.default_matmul_precision(config.matmul_precision):
        gradient, metrics = grad(losses.critic, state.critic_params, state, critic_key)
        params, optimizer = _adam(
            config.q_lr, gradient, state.critic_optimizer, state.critic_params, critic_step
        )
        state = state.replace(critic_params=params, critic_optimizer=optimizer)
        gradient, actor_metrics = grad(losses.actor, state.actor_params, state, actor_key)
        alpha_gradient, alpha_metrics = grad(losses.temperature, state.log_alpha, state, actor_key)
    params, optimizer = _adam(
        config.policy_lr, gradient, state.actor_optimizer, state.actor_params, actor_step
    )
    moved = state.replace(actor_params=params, actor_optimizer=optimizer)
    log_alpha, optimizer = _adam(
        config.alpha_lr, alpha_gradient, state.alpha_optimizer, state.log_alpha, alpha_step
    )
    moved = moved.replace(log_alpha=log_alpha, alpha_optimizer=optimizer)
    state = _update_targets(_delay(state, moved, config), config)
    return state, {**metrics, **actor_metrics, **alpha_metrics}


def _delay(state: TrainState, moved: TrainState, config: Config) -> TrainState:
    """Return `moved` every `policy_delay` gradient steps, and `state` in between."""
    if state.since_actor_update is None:
        return moved
    since = state.since_actor_update + 1
    due = since >= config.policy_delay
    # Computed every time, and mostly thrown away: see `_update_targets`.
    state = jax.tree.map(lambda old, new: jnp.where(due, new, old), state, moved)
    return state.replace(since_actor_update=jnp.where(due, 0, since))


def _count(optimizers: tuple[Any, ...]) -> list[AdamStep]:
    """Return Adam's next step t and bias corrections (1 - b1^t, 1 - b2^t), per optimizer.

    All at once, and behind a barrier: a GPU updates arrays of one shape by one kernel where they
    read the same array. Where they read the same scalars XLA sees nothing to be gained.
    """
    counts: Any = jnp.stack([moments.count for moments, _ in optimizers])
    steps = jnp.asarray(optax.safe_increment(jax.lax.optimization_barrier(counts)))
    corrections = jax.lax.optimization_barrier(1 - jnp.array([_DECAYS]) ** steps[:, None])
    return list(zip(steps, corrections, strict=True))


def _adam(
    learning_rate: float | Scalar,
    gradient: Params,
    optimizer: Any,
    params: Params,
    step: AdamStep,
) -> tuple[Params, Any]:
    """Take a step of `optax.adam` (Kingma and Ba, 2015, arXiv:1412.6980) on its state.

    Written out for `_count`; a test holds it to Optax's.
    """
    moments, rest = optimizer
    count, (first, second) = step
    b1, b2 = _DECAYS
    mu = jax.tree.map(lambda m, g: (1 - b1) * g + b1 * m, moments.mu, gradient)
    nu = jax.tree.map(lambda v, g: (1 - b2) * jnp.square(g) + b2 * v, moments.nu, gradient)

    def move(p: Array, m: Array, v: Array) -> Array:
        return p - learning_rate * (m / (first * (jnp.sqrt(v / second) + _EPSILON)))

    params = jax.tree.map(move, params, mu, nu)
    return params, (moments._replace(count=count, mu=mu, nu=nu), rest)


def _update_targets(state: TrainState, config: Config) -> TrainState:
    """Return `state` with every target moved by tau towards what it follows.

    target += tau (parameters - target), every `target_delay` gradient steps.
    """
    since, tau = jnp.zeros((), jnp.int32), jnp.float32(config.tau)
    if config.target_delay > 1:
        since = state.since_target_update + 1
        due = since >= config.target_delay  # not ==: a run may resume with a shorter delay
        # Multiplied by zero, not branched over: on a GPU a conditional would wait for the host.
        since, tau = jnp.where(due, 0, since), jnp.where(due, tau, 0.0)
    if state.target_actor_params is not None:
        target = optax.incremental_update(state.actor_params, state.target_actor_params, tau)
        state = state.replace(target_actor_params=target)
    target = optax.incremental_update(state.critic_params, state.target_critic_params, tau)
    return state.replace(target_critic_params=target, since_target_update=since)
