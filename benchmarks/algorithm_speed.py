r"""Time each packaged algorithm's gradient steps beside soft actor-critic's, in turns.

    python benchmarks/algorithm_speed.py --json benchmarks/results/algorithm_speed.json

For HalfCheetah (17 observations, 6 actions), at each algorithm's own defaults. A ratio is of
iterations that gradient steps alone would allow: `redq` takes twenty of them for each.
"""

import argparse
import pathlib
from typing import Any

import common
from updates import in_turns, timed

from mjx_sac.algorithms import PACKAGED, loader
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import build
from mjx_sac.training.host import device

HALF_CHEETAH = 17, 6


def compare(name: str, turns: int, seconds: float) -> dict[str, Any]:
    """Return gradient steps per second, and iterations beside SAC's in the same turns."""
    found = {each: build(loader.config_class(each), {"algorithm": each}) for each in ("sac", name)}
    steps = {each: max(2, loader.load(config).period(config)) for each, config in found.items()}
    functions = {
        each: timed(config.model_copy(update={"num_envs": 1}), HALF_CHEETAH, steps[each])
        for each, config in found.items()
    }
    rates = in_turns(functions, turns, seconds)
    updates = {each: [steps[each] * x for x in values] for each, values in rates.items()}
    per_iteration = {each: config.updates_per_iteration for each, config in found.items()}
    iterations = {each: [x / per_iteration[each] for x in updates[each]] for each in found}
    return {
        "updates_per_second": spread(updates[name]),
        "iterations_beside_sac": ratio(iterations[name], iterations["sac"]),
    }


def main() -> None:
    """Compare all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    others = [name for name in PACKAGED if name != "sac"]
    parser.add_argument("--algorithms", nargs="+", default=others, choices=others)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    device.set_up("auto")
    found = {name: compare(name, args.turns, args.seconds) for name in args.algorithms}
    there = {"cores": device.cores(), "algorithms": found}
    common.write({"benchmark": "algorithm_speed", **there}, args.json)


if __name__ == "__main__":
    main()
