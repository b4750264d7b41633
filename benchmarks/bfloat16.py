r"""Time gradient steps with float32 and with bfloat16 products, in turns.

    python benchmarks/bfloat16.py --json benchmarks/results/bfloat16.json

Steps are those of HalfCheetah (17 observations, 6 actions), compiled as an epoch compiles them, on
drawn transitions. Each turn times one scan of every case at either precision, so that whatever else
the machine does hits both; the ratio is of two that follow each other.
"""

import argparse
import pathlib
from typing import Any

import common
from updates import in_turns, timed

from mjx_sac.algorithms import loader
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import build
from mjx_sac.training.host import device

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


def compare(case: dict[str, Any], turns: int, seconds: float) -> dict[str, Any]:
    """Return updates per second of both precisions, and how many times faster bfloat16 is."""
    config_class = loader.config_class(case.get("algorithm", "sac"))

    def prepare(precision: str) -> Any:
        given = {"num_envs": 1, **case, "matmul_precision": precision}
        return timed(build(config_class, given), HALF_CHEETAH, STEPS)

    functions = {name: prepare(name) for name in ("default", "bfloat16")}
    rates = in_turns(functions, turns, seconds)
    updates = {name: spread([STEPS * x for x in values]) for name, values in rates.items()}
    times = ratio(rates["bfloat16"], rates["default"])
    return {**case, "updates_per_second": updates, "ratio": times}


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
