r"""Measure iterations/s on a Gymnasium environment beside peers, and what the overlap is worth.

    python benchmarks/gymnasium_throughput.py --peer_python sbx/bin/python \
        --json benchmarks/results/throughput_Ant-v5_1.json

The peers are SBX's SAC and Stable-Baselines3's, at equal settings: environments, batch, networks,
one update per iteration. How to make `sbx/`: `sbx_sac.py`. "serial" is our epoch with its order
changed so that the device waits while the host steps. All take turns.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from functools import partial

import common
import jax
import peers

from mjx_sac.bench import stages
from mjx_sac.bench.spread import ratio
from mjx_sac.config import Config
from mjx_sac.training.compiled import epoch as epoch_lib


def ours(env: str, num_envs: int, iterations: int, *, overlap: bool) -> Callable[[], float]:
    """Return a function that runs one epoch and returns iterations/s. The first only warms up."""
    config = Config(env=env, num_envs=num_envs, log_interval=iterations, warm_up_steps=iterations)
    experiment, state = stages.start(config)
    if not overlap:
        experiment.episodes.on_host = False
    epoch = stages.compiled(partial(epoch_lib.epoch, experiment), state)
    holder = [jax.block_until_ready(epoch(state)[0])]

    def run() -> float:
        started = time.perf_counter()
        holder[0], _ = jax.block_until_ready(epoch(holder[0]))
        return config.epoch_iterations / (time.perf_counter() - started)

    return run


def main() -> None:
    """Measure and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Ant-v5")
    parser.add_argument("--num_envs", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=1000, help="per turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer_python", required=True)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    size = (args.env, args.num_envs, args.iterations)
    sbx, versions = peers.stable_baselines("sbx", args.peer_python, *size)
    sb3, _ = peers.stable_baselines("sb3", args.peer_python, *size)
    turns = {
        "mjx_sac": ours(*size, overlap=True),
        "mjx_sac_serial": ours(*size, overlap=False),
        "sbx": sbx,
        "sb3": sb3,
    }
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for run in turns.values():
        run()  # one turn for nothing: caches, and SBX compiles on its first updates
    for i in range(args.repeats):
        for name in list(turns)[:: 1 if i % 2 else -1]:
            rates[name].append(turns[name]())
        print({name: round(values[-1], 1) for name, values in rates.items()}, flush=True)
    settings = {k: v for k, v in vars(args).items() if k not in ("json", "peer_python")}
    ratios = {
        f"to_{name}": ratio(rates["mjx_sac"], rates[name]) for name in rates if name != "mjx_sac"
    }
    result = {
        **settings,
        "ratio": ratios,
        "iterations_per_second": rates,
        "peer_versions": versions,
    }
    common.write({"benchmark": "gymnasium_throughput", **result}, args.json)


if __name__ == "__main__":
    main()
