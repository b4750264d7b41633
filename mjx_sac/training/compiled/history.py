"""What networks see with `--history`: the last observations, and the actions between them.

    o_t | a_t-1 o_t-1 | a_t-2 o_t-2 | ...        one vector, the newest first

Before an episode's first observation there are copies of it, and actions of zero. What is kept
while acting, the memory, is all but the newest observation.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from mjx_sac.envs.views import Ranges, Views, merged
from mjx_sac.training.compiled.normalizer import NormalizerState


def size(history: int, observation_size: int, action_size: int) -> int:
    """Return how many numbers networks see."""
    return observation_size + (history - 1) * (action_size + observation_size)


def see(
    observation: Float[Array, "*batch observation"], memory: Float[Array, "*batch memory"]
) -> Float[Array, "*batch seen"]:
    """Return what networks see of the newest observation and what was before."""
    return jnp.concatenate([observation, memory], axis=-1)


def begin(
    observation: Float[Array, "*batch observation"],
    action_size: int,
    history: int,
    action: ArrayLike = 0.0,
) -> Float[Array, "*batch memory"]:
    """Return the memory at an episode's first observation: copies of it, and of `action`."""
    actions = jnp.broadcast_to(action, (*observation.shape[:-1], action_size))
    return jnp.tile(jnp.concatenate([actions, observation], axis=-1), history - 1)


def resume(
    memory: Float[Array, "*batch memory"],
    observation: Float[Array, "*batch observation"],
    started: Bool[Array, "*batch"],
    history: int,
    action: ArrayLike = 0.0,
) -> Float[Array, "*batch memory"]:
    """Return the memory as it is at an observation: begun again where an episode has `started`."""
    action_size = memory.shape[-1] // (history - 1) - observation.shape[-1]
    begun = begin(observation, action_size, history, action)
    return jnp.where(started[..., None], begun, memory)


def follow(
    seen: Float[Array, "*batch seen"], action: Float[Array, "*batch action"], observation_size: int
) -> Float[Array, "*batch memory"]:
    """Return the memory after `action`, chosen for what was `seen`."""
    memory_size = seen.shape[-1] - observation_size
    return jnp.concatenate([action, seen], axis=-1)[..., :memory_size]


def stack(
    observations: Float[Array, "*batch history observation"],
    actions: Float[Array, "*batch history_1 action"],
) -> Float[Array, "*batch seen"]:
    """Return what networks see of observations and the actions between, both newest first."""
    pairs = jnp.concatenate([actions, observations[..., 1:, :]], axis=-1)
    return see(observations[..., 0, :], pairs.reshape(*pairs.shape[:-2], -1))


def statistics(stats: NormalizerState, seen: int, history: int) -> NormalizerState:
    """Return an observation's statistics as those of what is `seen`, in which actions stay."""
    if history == 1:
        return stats
    action_size = (seen - stats.mean.shape[-1]) // (history - 1) - stats.mean.shape[-1]
    mean, var = (
        see(x, begin(x, action_size, history, action))
        for x, action in ((stats.mean, 0.0), (stats.var, 1.0))
    )
    return stats.replace(mean=mean, var=var)


def views(one: Views, action_size: int, history: int) -> Views:
    """Return the views of an observation as those of what networks see: actions are in both."""
    pair, whole = action_size + one.size, size(history, one.size, action_size)

    def everywhere(ranges: Ranges) -> Ranges:
        earlier = [
            (start + first, start + last)
            for start in range(one.size, whole, pair)
            for first, last in (
                (0, action_size),
                *((action_size + a, action_size + b) for a, b in ranges),
            )
        ]
        return merged([*ranges, *earlier])

    return one._replace(actor=everywhere(one.actor), critic=everywhere(one.critic), size=whole)
