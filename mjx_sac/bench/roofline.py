"""How many gradient steps the arithmetic of a device allows."""

import math
from collections.abc import Mapping
from functools import partial

import jax
from jaxtyping import Array

from mjx_sac.training.compiled.epoch import run_updates
from mjx_sac.training.compiled.experiment import Experiment
from mjx_sac.types import TrainState, Transition


def count_flops(experiment: Experiment, train: TrainState, batch: Transition, keys: Array) -> float:
    """Return the floating-point operations of the first of these gradient steps, by XLA's count.

    Counted in the program for a CPU: on a GPU, XLA does not see into the routines of libraries. NaN
    where JAX is kept from using the CPU.
    """
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError:
        return math.nan
    first = jax.tree.map(lambda x: x[:1], (batch, keys))
    shapes = jax.eval_shape(lambda: (train, *first))
    with jax.default_device(cpu):
        compiled = jax.jit(partial(run_updates, experiment)).lower(*shapes).compile()
    return float((compiled.cost_analysis() or {}).get("flops", math.nan))


def roofline(flops: float, rates: Mapping[str, float]) -> dict[str, float]:
    """Compare the rate of gradient steps with what the rate of dense products allows.

    Args:
      flops: of a gradient step.
      rates: of the stages "update", "matmul" and "matmul_of_a_layer".

    Returns:
      "flops_per_update"; "updates_per_second_bound", at the rate of large products; "fraction", how
      much of that is reached; "fraction_at_the_rate_of_a_layer", the same of products as large as a
      hidden layer's.
    """
    update, large, layer = rates["update"], rates["matmul"], rates["matmul_of_a_layer"]
    return {
        "flops_per_update": flops,
        "updates_per_second_bound": 1e9 * large / flops,
        "fraction": update * flops / (1e9 * large),
        "fraction_at_the_rate_of_a_layer": update * flops / (1e9 * layer),
    }
