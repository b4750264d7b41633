"""Networks whose outputs can be read off by hand, and a state and a batch for them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp

from mjx_sac.networks import Networks
from mjx_sac.types import TrainState, Transition


class FixedActor:
    """Always the action 0.5 with log-probability `params`."""

    def apply(self, params, observation):
        action, log_prob = jnp.full((len(observation), 1), 0.5), jnp.full(len(observation), params)
        return SimpleNamespace(sample=lambda key: (action, log_prob))


class LinearCritic:
    """Q_i = params_i * (observation + action)."""

    def apply(self, params, observation, action):
        return (observation + action) * params[None, :]


NETWORKS = Networks(actor=FixedActor(), critic=LinearCritic())


def state(log_prob=-2.0, critics=(1.0, 2.0), targets=(3.0, 4.0), alpha=0.5) -> TrainState:
    none = {"actor_optimizer": None, "critic_optimizer": None, "alpha_optimizer": None}
    arrays = (
        jnp.float32(log_prob),
        jnp.array(critics),
        jnp.array(targets),
        jnp.log(jnp.float32(alpha)),
    )
    return TrainState(*arrays, **none, since_target_update=jnp.int32(0))


def batch(discount=0.9) -> Transition:
    row = jnp.array([[1.0]])
    return Transition(row, row, jnp.array([1.0]), jnp.array([discount]), row * 0.5)


def real_batch(config, n=8) -> Transition:
    keys = jax.random.split(jax.random.PRNGKey(7), 5)
    draw = lambda key, *shape: jax.random.uniform(key, shape, minval=-1.0)  # noqa: E731
    return Transition(
        draw(keys[0], n, 2),
        draw(keys[1], n, 1),
        draw(keys[2], n),
        jnp.full(n, config.discount),
        draw(keys[4], n, 2),
    )
