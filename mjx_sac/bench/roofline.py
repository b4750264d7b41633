"""How many gradient steps the arithmetic of a device allows."""

import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac import networks
from mjx_sac.algorithms import base
from mjx_sac.config import Config
from mjx_sac.losses import Losses
from mjx_sac.types import Transition


def flops_per_update(config: Config, observation_size: int, action_size: int) -> float:
    """Floating-point operations of the matrix products in one gradient step, counted from their shapes.

    A layer's forward pass, its gradient in the weights and its gradient in the input take 2 batch in out each. The critics' loss:
    the actor and the target critics forward; the critics forward, backward in all weights and in the inputs of all but the
    first layer. The actor's: the actor and the critics forward, the critics backward in inputs down to the action, the actor
    backward as the critics before. The temperature's shares the actor's forward pass.
    """

    def layers(inputs: int, outputs: int) -> list[int]:
        sizes = (inputs, *config.hidden_sizes, outputs)
        return [2 * config.batch_size * a * b for a, b in itertools.pairwise(sizes)]

    actor = layers(observation_size, 2 * action_size)
    critic = layers(observation_size + action_size, 1)
    to_action = 2 * config.batch_size * action_size * config.hidden_sizes[0]
    critic_step = sum(actor) + config.num_critics * (3 * sum(critic) + sum(critic[1:]))
    actor_step = (
        sum(actor)
        + config.num_critics * (sum(critic) + sum(critic[1:]) + to_action)
        + sum(actor)
        + sum(actor[1:])
    )
    return float(critic_step + actor_step)


def roofline(
    config: Config, observation_size: int, action_size: int, rates: dict[str, Any]
) -> dict[str, float]:
    """How many gradient steps per second the device's own rate of dense products allows, and how much of that is reached.

    XLA's count, for one step outside of a loop, has everything that is not a matrix product too.
    """
    flops = flops_per_update(config, observation_size, action_size)
    bound = 1e9 * rates["matmul"]["median"] / flops
    return {
        "flops_per_update": flops,
        "flops_per_update_by_xla": xla_flops(config, observation_size, action_size),
        "updates_per_second_bound": bound,
        "fraction": rates["update"]["median"] / bound,
        "fraction_at_the_rate_of_a_layer": rates["update"]["median"]
        / (1e9 * rates["matmul_of_a_layer"]["median"] / flops),
    }


def xla_flops(config: Config, observation_size: int, action_size: int) -> float:
    """XLA's own count for one gradient step: everything in it, the matrix products and all else."""
    nets = networks.make(config, action_size)
    fixed = {"networks": nets, "config": config}
    init = partial(base.init, observation_size=observation_size, action_size=action_size, **fixed)
    state = jax.eval_shape(init, jax.random.PRNGKey(0))
    n = config.batch_size
    sizes = ((n, observation_size), (n, action_size), (n,), (n,), (n, observation_size))
    batch: Any = Transition(*(jnp.zeros(size) for size in sizes))
    keys = jnp.zeros((2, 2), jnp.uint32)
    compiled = (
        jax.jit(partial(base.update, losses=Losses(), **fixed)).lower(state, batch, keys).compile()
    )
    return float((compiled.cost_analysis() or {}).get("flops", math.nan))
