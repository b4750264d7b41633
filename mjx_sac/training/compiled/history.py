"""What networks see with `--history`: the last observations, and the actions between them.

    o_t | a_t-1 o_t-1 | a_t-2 o_t-2 | ...        one vector, the newest first

Before an episode's first observation there are copies of it, and actions of zero. What is kept
while acting, the memory, is all but the newest observation; None where the history is 1.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from mjx_sac.envs.views import Ranges, Views, merged
from mjx_sac.training.compiled.normalizer import NormalizerState

Memory = Float[Array, "*batch memory"] | None


def size(history: int, observation_size: int, action_size: int) -> int:
    """Return how many numbers networks see."""
    return observation_size + (history - 1) * (action_size + observation_size)


def see(
    observation: Float[Array, "*batch observation"], memory: Memory
) -> Float[Array, "*batch seen"]:
    """Return what networks see of the newest observation and what was before."""
    return observation if memory is None else jnp.concatenate([observation, memory], axis=-1)


def begin(
    observation: Float[Array, "*batch observation"],
    action_size: int,
    history: int,
    action: ArrayLike = 0.0,
) -> Memory:
    """Return the memory at an episode's first observation: copies of it, and of `action`."""
    if history == 1:
        return None
    actions = jnp.broadcast_to(action, (*observation.shape[:-1], action_size))
    return jnp.tile(jnp.concatenate([actions, observation], axis=-1), history - 1)


def resume(memory: Memory, begun: Memory, started: Bool[Array, "*batch"]) -> Memory:
    """Return the memory, or the one just `begun` where an episode has `started`."""
    if memory is None or begun is None:
        return None
    return jnp.where(started[..., None], begun, memory)


def follow(
    seen: Float[Array, "*batch seen"], action: Float[Array, "*batch action"], observation_size: int
) -> Memory:
    """Return the memory after `action`, chosen for what was `seen`."""
    memory_size = seen.shape[-1] - observation_size
    return jnp.concatenate([action, seen], axis=-1)[..., :memory_size] if memory_size else None


def stack(
    observations: Float[Array, "*batch history observation"],
    actions: Float[Array, "*batch earlier action"],
) -> Float[Array, "*batch seen"]:
    """Return what networks see of observations and the actions between, both newest first."""
    parts = [observations[..., 0, :]]
    for i in range(actions.shape[-2]):
        parts += [actions[..., i, :], observations[..., i + 1, :]]
    # Not reshaped pairs: on a CPU, drawing takes six times as long with these for a history of 3.
    return jnp.concatenate(parts, axis=-1)


def statistics(stats: NormalizerState, seen: int, history: int) -> NormalizerState:
    """Return an observation's statistics as those of what is `seen`, in which actions stay."""
    if history == 1:
        return stats
    action_size = (seen - stats.mean.shape[-1]) // (history - 1) - stats.mean.shape[-1]
    mean = see(stats.mean, begin(stats.mean, action_size, history, 0.0))
    var = see(stats.var, begin(stats.var, action_size, history, 1.0))
    return stats.replace(mean=mean, var=var)


def views(one: Views, action_size: int, history: int) -> Views:
    """Return the views of an observation as those of what networks see: actions are in both."""
    whole = size(history, one.size, action_size)

    def everywhere(ranges: Ranges) -> Ranges:
        pair = (0, action_size), *((action_size + a, action_size + b) for a, b in ranges)
        starts = range(one.size, whole, action_size + one.size)
        return merged([*ranges, *((i + a, i + b) for i in starts for a, b in pair)])

    return one._replace(actor=everywhere(one.actor), critic=everywhere(one.critic), size=whole)
