"""Networks whose outputs can be read off by hand, with a state and batches for them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp

from helpers.runs import make_experiment
from mjx_sac.algorithms import base
from mjx_sac.networks import Networks
from mjx_sac.types import TrainState, Transition


class FixedActor:
    """Always the action 0.5, with log-probability `params`."""

    def apply(self, params, observation):
        action = jnp.full_like(observation, 0.5)
        log_prob = jnp.full(observation.shape[:-1], params)
        return SimpleNamespace(mode=lambda: action, sample=lambda key: (action, log_prob))


class LinearCritic:
    """Q_i = params_i * (observation + action)."""

    def apply(self, params, observation, action):
        return (observation + action) * params[None, :]


NETWORKS = Networks(actor=FixedActor(), critic=LinearCritic())


def state(log_prob=-2.0, critics=(1.0, 2.0), targets=(3.0, 4.0), alpha=0.5) -> TrainState:
    return TrainState(
        actor_params=jnp.float32(log_prob),
        critic_params=jnp.array(critics),
        target_critic_params=jnp.array(targets),
        log_alpha=jnp.log(jnp.float32(alpha)),
        actor_optimizer=None,
        critic_optimizer=None,
        alpha_optimizer=None,
        since_target_update=jnp.int32(0),
    )


def batch(discount=0.9) -> Transition:
    row = jnp.array([[1.0]])
    return Transition(row, row, jnp.array([1.0]), jnp.array([discount]), row * 0.5)


def real_batch(config, n=8, seed=7) -> Transition:
    """Random transitions of `helpers.envs.Counter`'s shapes."""
    keys = jax.random.split(jax.random.PRNGKey(seed), 5)
    draw = lambda key, *shape: jax.random.uniform(key, shape, minval=-1.0)  # noqa: E731
    return Transition(
        draw(keys[0], n, 2),
        draw(keys[1], n, 1),
        draw(keys[2], n),
        jnp.full(n, config.discount),
        draw(keys[4], n, 2),
    )


def stepping(experiment):
    """Return the first state for `real_batch`, and the compiled gradient step.

    The same programs for whoever asks, so they compile once.
    """
    static = {**experiment.static, "algorithm": experiment.algorithm}
    start = jax.jit(lambda key: base.init(key, 2, 1, **static))
    update = lambda *args, moves=None: base.update(*args, actor_moves=moves, **static)  # noqa: E731
    return start(jax.random.PRNGKey(0)), jax.jit(update, static_argnames="moves")


def updated(steps=1, losses=None, **overrides) -> tuple[list[TrainState], dict]:
    """Return the states before and after each of `steps` updates, and the last one's metrics."""
    experiment = make_experiment(losses=losses, **overrides)
    start, update = stepping(experiment)
    rows, history, metrics = real_batch(experiment.config), [start], {}
    for i in range(steps):
        train, measured = update(history[-1], rows, jax.random.split(jax.random.PRNGKey(i)))
        metrics = {tag: value for part, _ in measured for tag, value in part.items()}
        history.append(train)
    return history, metrics
