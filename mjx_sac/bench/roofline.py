"""How many gradient steps the arithmetic of a device allows."""

import math
from collections.abc import Mapping
from functools import partial

import jax
from jaxtyping import Array

from mjx_sac.algorithms import base
from mjx_sac.training.compiled.experiment import Experiment
from mjx_sac.types import TrainState, Transition


def count_flops(experiment: Experiment, train: TrainState, batch: Transition, keys: Array) -> float:
    """Return the floating-point operations of a gradient step, by XLA's count: those of the first
    of these, in the mean over steps that move a delayed actor and steps that do not.

    Counted in the program for a CPU: on a GPU, XLA does not see into the routines of libraries. NaN
    where JAX is kept from using the CPU.
    """
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError:
        return math.nan
    first = jax.tree.map(lambda x: x[0], (batch, keys))
    shapes = jax.eval_shape(lambda: (train, *first))
    step = partial(base.update, algorithm=experiment.algorithm, **experiment.static)

    def flops(actor_moves: bool) -> float:
        with jax.default_device(cpu):
            program = jax.jit(partial(step, actor_moves=actor_moves)).lower(*shapes).compile()
        return float((program.cost_analysis() or {}).get("flops", math.nan))

    period = experiment.algorithm.period(experiment.config)
    others = (period - 1) * flops(actor_moves=False) if period > 1 else 0.0
    return (flops(actor_moves=True) + others) / period


def roofline(flops: float, rates: Mapping[str, float]) -> dict[str, float]:
    """Compare the `rates` of gradient steps, each of so many `flops`, and of dense products.

    "updates_per_second_bound" is at the rate of large products, "fraction" how much of that is
    reached; "fraction_at_the_rate_of_a_layer" is of products as large as a hidden layer's.
    """
    update, large, layer = rates["update"], rates["matmul"], rates["matmul_of_a_layer"]
    return {
        "flops_per_update": flops,
        "updates_per_second_bound": 1e9 * large / flops,
        "fraction": update * flops / (1e9 * large),
        "fraction_at_the_rate_of_a_layer": update * flops / (1e9 * layer),
    }
