"""Seeds trained in one program against the same seeds one after another: seconds of whole processes, and what takes them.

    python benchmarks/seeds.py --json benchmarks/results/seeds_inverted_pendulum.json

Every process is `mjx-sac train`. Each side begins with an empty compilation cache of its own, so the runs one after another compile
once too; what they then still pay for each seed is Python's start, tracing, and reading the compiled program. A third side is one
program whose seeds are shared by the CPU's cores, as devices (`--num_devices`). Sides take turns.
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

FLAGS = ["--warm_up_steps=1000", "--log_interval=1000", "--checkpoint_interval=100000000", "--buffer_size=100000"]


def train(env: str, iterations: int, cache: str, flags: list[str]) -> dict[str, float]:
    """Seconds of one process, until its first epoch begins and in all."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-u", "-m", "mjx_sac", "train", f"--env={env}", f"--iterations={iterations}"]
        command += [f"--logdir={directory}/run", *FLAGS, *flags]
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
    """One program with all seeds, the same with each core a device, then one process for each seed."""
    seeds, flags = f"--num_seeds={args.num_seeds}", args.flags.split()
    with tempfile.TemporaryDirectory() as cache:
        together = train(args.env, args.iterations, f"{cache}/together", [seeds, *flags])
        on_cores = train(args.env, args.iterations, f"{cache}/cores", [seeds, f"--num_devices={args.num_devices}", *flags])
        alone = [train(args.env, args.iterations, f"{cache}/alone", [f"--seed={seed}", *flags]) for seed in range(args.num_seeds)]
    found: dict[str, Any] = {"together": together, "on_cores": on_cores, "alone": alone}
    for side, name in ((together, ""), (on_cores, "_on_cores")):
        found[f"ratio_of_whole{name}"] = sum(one["whole"] for one in alone) / side["whole"]
        found[f"ratio_of_training{name}"] = sum(map(training, alone)) / training(side)
    print(found, flush=True)
    return found


def training(process: dict[str, float]) -> float:
    """Seconds after start and compilation."""
    return process["whole"] - process["until_first_epoch"]


def main() -> None:
    """As many turns as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="inverted_pendulum")
    parser.add_argument("--num_seeds", type=int, default=8)
    parser.add_argument("--num_devices", type=int, default=2, help="cores that share the seeds; must divide their number")
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--flags", default="", help="of `mjx-sac train`, for both sides")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    turns = [turn(args) for _ in range(args.repeats)]
    ratios: dict[str, dict[str, float]] = {}
    for name in (name for name in turns[0] if name.startswith("ratio")):
        values = [found[name] for found in turns]
        ratios[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    settings = {name: getattr(args, name) for name in ("env", "num_seeds", "num_devices", "iterations")}
    settings["flags"] = [*FLAGS, *args.flags.split()]
    common.write({"benchmark": "seeds", **settings, **ratios, "turns": turns}, args.json)


if __name__ == "__main__":
    main()
