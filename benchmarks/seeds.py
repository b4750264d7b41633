"""Measure seeds trained in one program against the same seeds one after another, as processes.

    python benchmarks/seeds.py --json benchmarks/results/seeds_inverted_pendulum.json

Every process is `mjx-sac train`. Each side begins with its own empty compilation cache, so the runs
one after another compile once too; what they still pay for each seed is Python's start, tracing,
and reading the compiled program. Sides take turns.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import common

FLAGS = [
    "--warm_up_steps=1000",
    "--log_interval=1000",
    "--eval_interval=1000",
    "--checkpoint_interval=100000000",
    "--buffer_size=100000",
]


def train(env: str, iterations: int, cache: str, flags: list[str]) -> dict[str, float]:
    """Return the seconds of one process, until its first epoch begins and in all."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-u", "-m", "mjx_sac", "train", "--env", env, *FLAGS, *flags]
        command += [f"--iterations={iterations}", f"--logdir={directory}/run"]
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        started, ready = time.perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        for line in process.stdout:
            if not ready and line.strip().endswith("] warm-up"):
                ready = time.perf_counter() - started
        if process.wait():
            sys.exit(f"{' '.join(command)} failed")
        return {"until_first_epoch": ready, "whole": time.perf_counter() - started}


def turn(args: argparse.Namespace) -> dict[str, Any]:
    """Train all seeds in one program, then one process for each."""
    with tempfile.TemporaryDirectory() as cache:

        def run(side: str, *flags: str) -> dict[str, float]:
            flags = (*flags, *args.flags.split())
            return train(args.env, args.iterations, f"{cache}/{side}", [*flags])

        together = run("together", f"--num_seeds={args.num_seeds}")
        alone = [run("alone", f"--seed={seed}") for seed in range(args.num_seeds)]
    whole = sum(one["whole"] for one in alone)
    training = sum(one["whole"] - one["until_first_epoch"] for one in alone)
    found = {
        "together": together,
        "alone": alone,
        "ratio_of_whole": whole / together["whole"],
        "ratio_of_training": training / (together["whole"] - together["until_first_epoch"]),
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Take as many turns as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="inverted_pendulum")
    parser.add_argument("--num_seeds", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--flags", default="", help="of `mjx-sac train`, for both sides")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    turns = [turn(args) for _ in range(args.repeats)]
    ratios: dict[str, dict[str, float]] = {}
    for name in ("ratio_of_whole", "ratio_of_training"):
        values = [found[name] for found in turns]
        ratios[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    settings = {
        "env": args.env,
        "num_seeds": args.num_seeds,
        "iterations": args.iterations,
        "flags": [*FLAGS, *args.flags.split()],
    }
    common.write({"benchmark": "seeds", **settings, **ratios, "turns": turns}, args.json)


if __name__ == "__main__":
    main()
