r"""Train environments that nobody here wrote for some hundred iterations; record each refusal.

    uv run --with gymnasium-robotics --with "shimmy[dm-control]" --with minigrid \
        --with "gymnasium[box2d]" python benchmarks/gymnasium_table.py \
        --json benchmarks/results/gymnasium_table.json

A refusal is the line that the command printed.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import common

from mjx_sac.runs import provenance

MUJOCO = (
    *("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedDoublePendulum"),
    *("InvertedPendulum", "Pusher", "Reacher", "Swimmer", "Walker2d"),
)
IDS = {
    "gymnasium, classic control": ["Pendulum-v1", "MountainCarContinuous-v0", "CartPole-v1"],
    "gymnasium, MuJoCo": [f"{name}-v5" for name in MUJOCO],
    "gymnasium, Box2D": ["BipedalWalker-v3", "LunarLanderContinuous-v3", "CarRacing-v3"],
    "gymnasium-robotics": [
        f"gymnasium_robotics:{name}"
        for name in ("FetchReach-v4", "AdroitHandDoor-v1", "PointMaze_UMaze-v3")
    ],
    "shimmy": [
        f"shimmy:dm_control/{name}-v0"
        for name in ("cartpole-balance", "walker-walk", "humanoid-run")
    ],
    "minigrid": ["minigrid:MiniGrid-Empty-5x5-v0"],
}
PACKAGES = (
    *("gymnasium", "gymnasium-robotics", "shimmy", "dm-control", "minigrid", "mujoco", "box2d"),
)
FLAGS = (
    "--num_envs=2 --iterations=400 --warm_up_steps=200 --log_interval=200 --episodes_per_eval=1 "
    "--hidden_sizes=32 --buffer_size=1000 --episode_length=50"
)


def outcome(name: str, directory: str) -> str:
    """Return that it trains, or the line that the command printed."""
    logdir = f"{directory}/{name.replace(':', '_')}"
    command = [sys.executable, "-m", "mjx_sac", "train", "--env", name, "--logdir", logdir]
    command += FLAGS.split()
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    line = (result.stderr.strip().splitlines() or [""])[-1].removeprefix("mjx-sac: ")
    line = re.sub(r"/\S*/site-packages/", "", line)  # where it is installed is no result
    return "trains" if result.returncode == 0 else f"exit {result.returncode}: {line}"


def main() -> None:
    """Print a line each and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for source, ids in IDS.items():
            table[source] = {}
            for name in ids:
                table[source][name] = outcome(name, directory)
                print(f"{name:40} {table[source][name]}", flush=True)
    packages = {package: provenance.version(package) for package in PACKAGES}
    common.write({"benchmark": "gymnasium_table", "table": table, "packages": packages}, args.json)


if __name__ == "__main__":
    main()
