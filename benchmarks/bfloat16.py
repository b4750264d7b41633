r"""Time gradient steps with float32 and with bfloat16 products, in turns.

    python benchmarks/bfloat16.py --json benchmarks/results/bfloat16.json

Steps are those of HalfCheetah (17 observations, 6 actions), compiled as an epoch compiles them, on
drawn transitions. Each turn times one scan of every case at either precision, so that whatever else
the machine does hits both; the ratio is of two that follow each other.
"""

import argparse
import pathlib
import time
from functools import partial
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from updates import scan

from mjx_sac.algorithms import loader
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import build
from mjx_sac.training.host import compile, device

CASES: dict[str, dict[str, Any]] = {
    "sac": {},
    "sac, 512 wide, batch 512": {"hidden_sizes": (512, 512), "batch_size": 512},
    "csac": {"algorithm": "csac"},
    "xqc": {"algorithm": "xqc"},
    "flashsac": {"algorithm": "flashsac"},
}
HALF_CHEETAH = 17, 6
STEPS = 4
"""Gradient steps per call: an even number, for actors that move in every other one."""


def prepare(case: dict[str, Any], precision: str) -> Any:
    """Return a compiled function without arguments that takes `STEPS` gradient steps."""
    settings = {"num_envs": 1, **case, "matmul_precision": precision}
    config = build(loader.config_class(settings.get("algorithm", "sac")), settings)
    steps, draw = scan(config, HALF_CHEETAH, STEPS), np.random.default_rng(0)
    fill = lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype)  # noqa: E731
    keys = jax.random.split(jax.random.PRNGKey(1), steps.keys.shape[:-1])
    args = steps.init(jax.random.PRNGKey(0)), jax.tree.map(fill, steps.batches), keys
    program = jax.jit(steps.run).lower(*args).compile(compile.options(jax.default_backend()))
    return partial(program, *args)


def rate(function: Any, seconds: float) -> float:
    """Return gradient steps per second, called for at least so many seconds."""
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not calls:
        jax.block_until_ready(function())
        calls += 1
    return calls * STEPS / passed


def compare(case: dict[str, Any], turns: int, seconds: float) -> dict[str, Any]:
    """Return updates per second of both precisions, and how many times faster bfloat16 is."""
    functions = {name: prepare(case, name) for name in ("default", "bfloat16")}
    rates: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            measured = rate(function, seconds)
            if turn:  # the first warms caches up
                rates[name].append(measured)
    updates = {name: spread(values) for name, values in rates.items()}
    return {
        **case,
        "updates_per_second": updates,
        "ratio": ratio(rates["bfloat16"], rates["default"]),
    }


def main() -> None:
    """Compare all cases, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    device.set_up("auto")
    cases = {name: compare(CASES[name], args.turns, args.seconds) for name in args.cases}
    there = {"bfloat16_instructions": device.multiplies_bfloat16(), "cores": device.cores()}
    common.write({"benchmark": "bfloat16", **there, "cases": cases}, args.json)


if __name__ == "__main__":
    main()
