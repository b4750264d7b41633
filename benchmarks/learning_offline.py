r"""Train SAC for a while, then learn from its replay buffer alone, beside the return that it holds.

    python benchmarks/learning_offline.py --runs runs/offline \
        --json benchmarks/results/learning_offline_HalfCheetah-v5.json \
        --png benchmarks/results/learning_offline_HalfCheetah-v5.png
    python benchmarks/learning_offline.py --runs runs/offline --env Pendulum-v1 --seeds 0 1 \
        --iterations 10000 --algorithms "td3bc=td3bc --iterations 6000" \
        "cql=cql --iterations 6000" --flags "--num_envs 1 --log_interval 500 --eval_interval 500 \
        --checkpoint_interval 10000 --batch_size 128 --policy_lr 1e-3 --q_lr 1e-3 \
        --hidden_sizes 64,64 --warm_up_steps 1000" \
        --json benchmarks/results/learning_offline_Pendulum-v1.json \
        --png benchmarks/results/learning_offline_Pendulum-v1.png

A run that is finished is not repeated and one that was interrupted is resumed, so the whole may be
done in parts; `--only_read` trains nothing. Offline an iteration is a gradient step. `--algorithms`
names them as `learning_tasks.py` does: `n1=td3bc --iterations 50000 --bc_alpha 1`.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import common
from learning import our_curve
from learning_tasks import command, directory, named, train

from mjx_sac.runs import dataset, event_files, plot

ALGORITHMS = ["td3bc=td3bc --iterations 50000", "cql=cql --iterations 20000"]
FLAGS = "--num_envs 1 --log_interval 5000 --eval_interval 5000"
BEHAVIOUR = "sac"


def trainings(args: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    """Yield what `learning_tasks.train` is given: of each seed first what collects."""
    for seed in args.seeds:
        collected = directory(args, BEHAVIOUR, args.env, seed)
        flags = f"{args.flags} --iterations {args.iterations}"
        yield BEHAVIOUR, args.env, seed, collected, flags
        flags = f"{args.flags} --offline --dataset {dataset.RUN}{collected}"
        for algorithm in args.algorithms:
            yield algorithm, args.env, seed, directory(args, algorithm, args.env, seed), flags


def data(run: pathlib.Path) -> dict[str, Any]:
    """Return what is in a run's replay buffer, and what its policy reached in the end."""
    recorded = dataset.read(f"{dataset.RUN}{run}")
    return {
        "transitions": len(recorded.reward),
        "whole_episodes": int(recorded.whole.sum()),
        "mean_return": round(recorded.mean_return(), 1),
        "evaluated_at_the_end": round(our_curve(run)[-1][1], 1),
        "sha256": recorded.sha256(),
    }


def own(run: pathlib.Path) -> dict[str, Any]:
    """Return a run's configuration without what is of this machine or seed."""
    config = json.loads((run / "kwargs.json").read_text())["config"]
    return {k: v for k, v in config.items() if k not in ("logdir", "dataset", "seed")}


def read(args: argparse.Namespace) -> dict[str, Any]:
    """Return the data's returns, and each algorithm's curve and final return by seed.

    A run that has not been evaluated yet is left out.
    """
    runs: dict[str, list[pathlib.Path]] = {}
    for algorithm, _, _, where, _ in trainings(args):
        if where.is_dir() and "eval/mean_reward" in event_files.read(where):
            runs.setdefault(named(algorithm), []).append(where)
    curves = {name: [our_curve(run) for run in those] for name, those in runs.items()}
    collected = [data(run) for run in runs[BEHAVIOUR]]
    commits = {
        str(json.loads((run / "kwargs.json").read_text())["git_commit"])
        for those in runs.values()
        for run in those
    }
    return {
        "benchmark": "learning_offline",
        "env": args.env,
        "iterations": args.iterations,
        "commands": [f"mjx-sac {command(*run)}" for run in trainings(args)],
        "seeds": args.seeds,
        "data": collected,
        "final": {
            name: [
                {"iterations": curve[-1][0], "return": round(curve[-1][1], 1)} for curve in those
            ]
            for name, those in curves.items()
            if name != BEHAVIOUR
        },
        "curves": curves,
        "configs": {name: own(those[0]) for name, those in runs.items()},
        "trained_at": sorted(commits),
    }


def draw(result: dict[str, Any], png: pathlib.Path) -> None:
    """Draw the offline curves, and a line at the mean return of an episode in the data."""
    curves = {name: runs for name, runs in result["curves"].items() if name != BEHAVIOUR}
    end = max(run[-1][0] for runs in curves.values() for run in runs)
    for label, key in {
        "the data, mean return per episode": "mean_return",
        f"{BEHAVIOUR}, which collected it, evaluated at its end": "evaluated_at_the_end",
    }.items():
        curves[label] = [[(0, each[key]), (end, each[key])] for each in result["data"]]
    title = f"{result['env']}: offline from {result['iterations']:,} iterations of {BEHAVIOUR}"
    plot.draw(curves, png, title=title, x_label="gradient steps")


def main() -> None:
    """Train what is missing, print, and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--iterations", type=int, default=100_000, help="of what collects")
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--flags", default=FLAGS, help="of every training")
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--only_read", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    for run in () if args.only_read else trainings(args):
        train(*run)
    result = read(args)
    if args.png:
        draw(result, args.png)
    common.write(result, args.json)


if __name__ == "__main__":
    main()
