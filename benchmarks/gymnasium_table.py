"""What happens with environments that nobody here wrote: each is trained for some hundred iterations, or its refusal recorded.

uv run --with gymnasium-robotics --with "shimmy[dm-control]" --with minigrid --with "gymnasium[box2d]" \
    python benchmarks/gymnasium_table.py --json benchmarks/results/gymnasium_table.json
"""

import argparse
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tempfile

import common

MUJOCO = "Ant HalfCheetah Hopper Humanoid HumanoidStandup InvertedDoublePendulum InvertedPendulum Pusher Reacher Swimmer Walker2d"
IDS = {
    "gymnasium, classic control": ["Pendulum-v1", "MountainCarContinuous-v0", "CartPole-v1"],
    "gymnasium, MuJoCo": [f"{name}-v5" for name in MUJOCO.split()],
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
    "gymnasium",
    "gymnasium-robotics",
    "shimmy",
    "dm-control",
    "minigrid",
    "mujoco",
    "box2d",
)


def outcome(name: str, directory: str, *flags: str) -> str:
    """What became of it: that it trains, or the line that the command printed."""
    sizes = [
        "--num_envs=2",
        "--iterations=400",
        "--warm_up_steps=200",
        "--log_interval=200",
        "--episodes_per_eval=1",
    ]
    sizes += [
        "--hidden_sizes=32",
        "--buffer_size=1000",
        "--episode_length=50",
        f"--logdir={directory}/{name.replace(':', '_')}",
    ]
    command = [sys.executable, "-m", "mjx_sac", "train", "--env", name, *sizes, *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    line = (result.stderr.strip().splitlines() or [""])[-1].removeprefix("mjx-sac: ")
    line = re.sub(r"/\S*/site-packages/", "", line)  # where it is installed is no result
    return "trains" if result.returncode == 0 else f"exit {result.returncode}: {line}"


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Prints a line each and writes the table."""
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
    packages = {package: version(package) for package in PACKAGES}
    common.write({"benchmark": "gymnasium_table", "table": table, "packages": packages}, args.json)


if __name__ == "__main__":
    main()
