r"""Count the arithmetic of each packaged algorithm's gradient steps, for HalfCheetah.

Floating-point operations per iteration at the algorithm's own defaults, as XLA counts them in the
compiled gradient step; and bytes that this one, compiled for a CPU, reads and writes. Nothing is
trained.

    python benchmarks/algorithm_costs.py --json benchmarks/results/algorithm_costs.json
"""

import argparse
import pathlib
from typing import Any

import common
import jax
import jax.numpy as jnp

from mjx_sac.algorithms import PACKAGED, base, loader
from mjx_sac.types import Transition

OBSERVATION, ACTION = 17, 6


def count(name: str, **settings: Any) -> dict[str, float]:
    """Return operations and bytes of a gradient step, on average over actors that wait, and
    operations per iteration.
    """
    found = loader.find(name)
    config = found.config_class(algorithm=name, **settings)
    networks = found.algorithm.networks(config, ACTION)
    static: Any = {"networks": networks, "config": config, "algorithm": found.algorithm}

    def costs(actor_moves: bool) -> dict[str, float]:
        def step(key: Any) -> Any:
            state = base.init(key, OBSERVATION, ACTION, **static)
            return state, jax.random.split(key)

        n = config.batch_size
        shapes = ((n, OBSERVATION), (n, ACTION), (n,), (n,), (n, OBSERVATION))
        batch = Transition(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
        state, keys = jax.eval_shape(step, jax.ShapeDtypeStruct((2,), jnp.uint32))

        def update(*args: Any) -> Any:
            return base.update(*args, actor_moves=actor_moves, **static)

        return jax.jit(update).lower(state, batch, keys).compile().cost_analysis()

    period = found.algorithm.period(config)
    moving, waiting = costs(True), costs(False) if period > 1 else {}

    def mean(name: str) -> float:
        return (moving[name] + waiting.get(name, 0) * (period - 1)) / period

    return {
        "gradient_step": mean("flops"),
        "bytes_per_gradient_step": mean("bytes accessed"),
        "iteration": mean("flops") * config.updates_per_iteration,
    }


def main() -> None:
    """Count all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    flops = {name: count(name) for name in PACKAGED}
    one = flops["sac"]["iteration"]
    cost = {name: float(f"{x['iteration'] / one:.2g}") for name, x in flops.items()}
    sizes = {"observation_size": OBSERVATION, "action_size": ACTION}
    common.write({"benchmark": "algorithm_costs", **sizes, "flops": flops, "cost": cost}, args.json)


if __name__ == "__main__":
    main()
