r"""Train packaged algorithms beside soft actor-critic, on a small environment.

A run that is finished is not repeated, so the whole may be done in parts.

    python benchmarks/learning_algorithms.py --runs runs/algorithms \
        --json benchmarks/results/learning_algorithms_Pendulum-v1.json \
        --png benchmarks/results/learning_algorithms_Pendulum-v1.png
    python benchmarks/learning_algorithms.py --runs runs/algorithms --seeds 0 1 \
        --algorithms crossq simbav2 tqc fasttd3 fastsac brc \
        --json benchmarks/results/learning_algorithms_Pendulum-v1_recent.json \
        --png benchmarks/results/learning_algorithms_Pendulum-v1_recent.png
    python benchmarks/learning_algorithms.py --runs runs/algorithms --seeds 0 1 \
        --algorithms flashsac xqc csac \
        --json benchmarks/results/learning_algorithms_Pendulum-v1_more.json \
        --png benchmarks/results/learning_algorithms_Pendulum-v1_more.png
"""

import argparse
import json
import pathlib
import subprocess
import sys

import common
from learning import our_curve, tabulate

from mjx_sac.runs import plot

FLAGS = (
    "--num_envs 1 --warm_up_steps 1000 --log_interval 500 --eval_interval 500 "
    "--checkpoint_interval 10000 --batch_size 128 --policy_lr 1e-3 --q_lr 1e-3"
)
PLAIN = "--hidden_sizes 64,64 --no_normalize_observations"
ALGORITHMS = {
    "sac": f"{PLAIN} --alpha_lr 1e-3 --iterations 10000",
    "td3": f"{PLAIN} --iterations 10000",
    "cql": f"{PLAIN} --alpha_lr 1e-3 --iterations 10000",
    "redq": f"{PLAIN} --alpha_lr 1e-3 --iterations 3000 --updates_per_iteration 10 "
    "--policy_delay 10",
    "crossq": "--iterations 6000 --actor_widths 64,64 --critic_widths 256,256",
    "simbav2": "--iterations 6000 --alpha_lr 1e-3 --actor_width 32 --critic_width 64",
    "tqc": f"{PLAIN} --iterations 10000 --alpha_lr 1e-3 --critic_widths 64,64",
    "fasttd3": f"{PLAIN} --iterations 6000 --critic_widths 64,64 --normalize_rewards "
    "--max_return 10",
    "fastsac": f"{PLAIN} --iterations 6000 --alpha_lr 1e-3 --critic_widths 64,64 "
    "--normalize_rewards --max_return 20",
    "brc": "--iterations 6000 --alpha_lr 1e-3 --actor_width 64 --critic_width 128",
    "flashsac": "--iterations 6000 --alpha_lr 1e-3 --actor_width 32 --critic_width 64",
    "xqc": "--iterations 6000 --alpha_lr 1e-3 --actor_widths 64,64 --critic_widths 128,128",
    "csac": f"{PLAIN} --iterations 6000 --alpha_lr 1e-3",
}


def train(env: str, name: str, seed: int, runs: pathlib.Path) -> pathlib.Path:
    """Train, or resume; return the run's directory."""
    directory = f"{name}-{seed}"
    own = f"{ALGORITHMS[name]} --algorithm {name}"
    flags = f"{FLAGS} {own} --env {env} --seed {seed} --logdir {directory}"
    subprocess.run(
        [sys.executable, "-m", "mjx_sac", "train", *flags.split()],
        cwd=runs,
        check=True,
        stdout=sys.stderr,
    )
    return runs / directory


def main() -> None:
    """Train, print a table and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=[*ALGORITHMS][:4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--at", type=int, nargs="+", default=[1500, 2000, 2500, 3000, 4000, 6000, 8000, 10_000]
    )
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    done = {
        name: [train(args.env, name, seed, args.runs) for seed in args.seeds]
        for name in args.algorithms
    }
    curves = {
        name: [our_curve(directory) for directory in directories]
        for name, directories in done.items()
    }
    kwargs = {
        name: json.loads((directories[0] / "kwargs.json").read_text())
        for name, directories in done.items()
    }
    configs = {
        name: {k: v for k, v in run["config"].items() if k not in ("logdir", "seed")}
        for name, run in kwargs.items()
    }
    hashes = {name: run.get("algorithm_sha256") for name, run in kwargs.items()}
    result = {
        "benchmark": "learning_algorithms",
        "env": args.env,
        "seeds": args.seeds,
        "table": tabulate(curves, args.at),
        "curves": curves,
    }
    if args.png:
        plot.draw(
            curves,
            args.png,
            title=f"{args.env}, seeds {min(args.seeds)} to {max(args.seeds)}",
            y_label="mean evaluation return",
        )
    common.write({**result, "configs": configs, "algorithm_sha256": hashes}, args.json)


if __name__ == "__main__":
    main()
