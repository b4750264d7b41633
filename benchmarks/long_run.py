r"""Train algorithms for long, one seed each, resumed as often as need be; look for seams.

    python benchmarks/long_run.py --runs runs/long --published benchmarks/published.csv \
        --task HalfCheetah-v4 --json benchmarks/results/long_run_HalfCheetah-v5.json \
        --png benchmarks/results/long_run_HalfCheetah-v5.png

Stop it as often as you like: the same command resumes. With `--only_read` nothing is trained.
A seam is judged by what is logged every epoch: how far each number moves across a resumption,
divided by how far it moves from epoch to epoch nearby, in the median: 1 is as ever. `--task` is the
one of `--published` to draw beside.
"""

import argparse
import itertools
import json
import pathlib
import statistics
from typing import Any

import common
from learning import our_curve, published
from learning_tasks import directory, train

from mjx_sac.runs import event_files, plot

FLAGS = "--num_envs 1 --eval_interval 20000 --checkpoint_interval 25000"
TAGS = ("train/critic_loss", "train/actor_loss", "train/ent_coef", "rollout/ep_rew_mean")
NEARBY = 20
"""Epochs before and after a resumption."""


def seam(curve: dict[int, float], start: int) -> float | None:
    """Return how far a number moves across `start`, beside its usual moves nearby."""
    steps = sorted(curve)
    first = next((i for i, step in enumerate(steps) if step > start), 0)
    values = [curve[step] for step in steps[max(0, first - NEARBY) : first + NEARBY]]
    moves = [abs(after - before) for before, after in itertools.pairwise(values)]
    middle = min(first, NEARBY) - 1
    if middle < 0 or len(moves) < NEARBY:
        return None
    usual = statistics.median(moves[:middle] + moves[middle + 1 :])
    return moves[middle] / usual if usual else None


def seams(run: pathlib.Path, start: int) -> dict[str, Any]:
    """Return what moved across a resumption after `start` iterations, beside its usual moves."""
    found = {
        tag: round(value, 2)
        for tag, curve in event_files.read(run).items()
        if tag in TAGS and (value := seam(curve, start)) is not None
    }
    return {"iterations": start, "moved": found, "median": statistics.median(found.values())}


def main() -> None:
    """Train what is missing, print, and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", default=["sac", "csac"])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--iterations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flags", default=FLAGS, help="of every training")
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--only_read", action="store_true")
    parser.add_argument("--published", type=pathlib.Path)
    parser.add_argument("--task", help="in --published")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    runs = {name: directory(args, name, args.env, args.seed) for name in args.algorithms}
    for name, run in () if args.only_read else runs.items():
        train(name, args.env, args.seed, run, f"{args.flags} --iterations {args.iterations}")
    starts = {name: event_files.starts(run)[1:] for name, run in runs.items()}
    others = published(args.published, args.task, args.iterations) if args.published else {}
    commits = {json.loads((run / "kwargs.json").read_text())["git_commit"] for run in runs.values()}
    result = {
        "benchmark": "long_run",
        "env": args.env,
        "curves": {name: [our_curve(run)] for name, run in runs.items()},
        "resumed": {name: [seams(runs[name], n) for n in each] for name, each in starts.items()},
        "published": {name: entry for name, entry in others.items() if name in (*runs, "flashsac")},
        "trained_at": sorted(map(str, commits)),
    }
    if args.png:
        draw(result, args)
    common.write(result, args.json)


def draw(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Draw the curves, where each run was resumed, and what was published."""
    points: dict[str, Any] = {
        f"{name} on {args.task}, {entry['seeds']} seeds, as published": entry["points"]
        for name, entry in result["published"].items()
    }
    for name, each in result["resumed"].items():
        (curve,) = result["curves"][name]
        at = [max(point for point in curve if point[0] <= seam["iterations"]) for seam in each]
        if at:
            points[f"{name} was resumed here"] = at
    plot.draw(result["curves"], args.png, title=f"{args.env}, seed {args.seed}", points=points)


if __name__ == "__main__":
    main()
