"""Measure from process start to the first gradient step, with a cold cache and a warm one.

    python benchmarks/startup.py --json benchmarks/results/startup_ant.json

Runs `mjx-sac train` as a user would, and stops the clock at the line that announces training,
printed just before the device gets the epoch with the first gradient step. What this epoch does
before it is missing: ant's 63 vector steps of warm-up take 50 ms at the rate of environment steps
in `bench_ant_16.json`. "traced" has XLA's programs in its cache, but not the lowered epoch.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import common


def start(env: str, logdir: str, cache: str) -> dict[str, float]:
    """Return the seconds at which each phase began."""
    command = [sys.executable, "-u", "-m", "mjx_sac", "train", "--env", env, "--logdir", logdir]
    started, phases = time.perf_counter(), {}
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # a warm one of the user's
    # Where set, each start compiles all packages' Python for three seconds.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    for line in process.stdout:
        name = line.strip().partition("] ")[2].removeprefix("warm-up, then ")
        if name in (f"building {env}", "compiling", "warm-up", "training"):
            phases[name] = time.perf_counter() - started
        if "training" in phases:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    return phases


def main() -> None:
    """Measure cold and warm starts in turns, in a fresh run directory each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", type=int, help="turns that begin with nothing cached (all)")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "traced": [], "warm": []}
    with tempfile.TemporaryDirectory() as directory:
        cache = f"{directory}/cache"
        for turn in range(args.repeats):
            cold = args.cold is None or turn < args.cold
            for kind in rows if cold else ("traced", "warm"):
                if kind != "warm":
                    cached = f"{cache}/mjx-sac/xla/lowered" if kind == "traced" else cache
                    shutil.rmtree(cached, ignore_errors=True)
                rows[kind].append(start(args.env, f"{directory}/{kind}_{turn}", cache))
                print(kind, rows[kind][-1], flush=True)
    seconds = {
        kind: sorted(row["training"] for row in values)[len(values) // 2]
        for kind, values in rows.items()
    }
    result = {"benchmark": "startup", "env": args.env, "median_seconds": seconds, "phases": rows}
    common.write(result, args.json)


if __name__ == "__main__":
    main()
