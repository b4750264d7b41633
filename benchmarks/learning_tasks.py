r"""Train algorithms on several tasks and seeds; judge them by iterations and by time.

    python benchmarks/learning_tasks.py --runs runs/tasks \
        --json benchmarks/results/learning_tasks.json --png benchmarks/results/learning_tasks.png

A run that is finished is not repeated and one that was interrupted is resumed, so the whole may be
done in parts; with `--only_read` nothing is trained. `--speed N` measures iterations per second
first: N short trainings of each algorithm in turn, so that whatever else the machine does hits all
alike. Do that on a machine that does nothing else. Costly algorithms are beside cheap ones with

    python benchmarks/learning_tasks.py --runs runs/tasks --only_read --tasks HalfCheetah-v5 \
        --algorithms sac csac "flashsac=flashsac --matmul_precision bfloat16" \
        "xqc=xqc --matmul_precision bfloat16" --speed 3 --speed_iterations 1000 \
        --json benchmarks/results/learning_tasks_speed.json

`--published benchmarks/published.csv` shows what others reached with the same algorithms on the
same tasks. `--algorithms csac "n1=csac --n_step 1"` tries one change, which is called `n1`:

    python benchmarks/learning_tasks.py --runs runs/screening --tasks HalfCheetah-v5 Walker2d-v5 \
        --seeds 0 1 --iterations 50000 --algorithms "n1=csac --n_step 1" \
        "wide=csac --hidden_sizes 512,512" --json benchmarks/results/learning_tasks_screening.json

The command in that file has all changes that were tried. `--flags` are of all trainings.

An algorithm's score is its return divided by the first algorithm's, a mean over seeds, then over
tasks. Its interval is of 95 %, by drawing seeds again.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import common
import numpy as np
from learning import at, published

from mjx_sac.runs import event_files, plot

Curve = list[tuple[int, float]]
Curves = Mapping[str, Mapping[str, Mapping[int, Curve]]]
"""By algorithm, task and seed."""

FLAGS = "--num_envs 1 --eval_interval 1"


def named(algorithm: str) -> str:
    """Return what an algorithm is called: `n1` of "n1=csac --n_step 1"."""
    return algorithm.partition("=")[0]


def directory(args: argparse.Namespace, algorithm: str, task: str, seed: int) -> pathlib.Path:
    """Return where a run is."""
    return args.runs / f"{named(algorithm)}-{task.replace('/', '-')}-{seed}"


def command(algorithm: str, task: str, seed: int, where: pathlib.Path, flags: str) -> str:
    """Return what `mjx-sac` is given to train, or to resume."""
    name, _, given = algorithm.partition("=")
    same = f"--env {task} --seed {seed} --logdir {where} {flags}"
    return f"train {same} --algorithm {given or name}"


def train(*run: Any) -> None:
    """Train, or resume, what `command` makes of `run`."""
    words = [sys.executable, "-m", "mjx_sac", *command(*run).split()]
    subprocess.run(words, check=True, stdout=sys.stderr)


def speed(algorithms: list[str], task: str, repeats: int, length: int) -> dict[str, list[float]]:
    """Return iterations per second of each algorithm, each repeat once all have had their turn.

    A training has five epochs, of which the first two warm up.
    """
    epoch = length // 5
    flags = f"--num_envs 1 --iterations {length} --log_interval {epoch} --episodes_per_eval 0"
    rates: dict[str, list[float]] = {named(algorithm): [] for algorithm in algorithms}
    for _ in range(repeats):
        for algorithm in algorithms:
            with tempfile.TemporaryDirectory() as temporary:
                where = pathlib.Path(temporary) / "run"
                train(algorithm, task, 0, where, f"{flags} --warm_up_steps {2 * epoch}")
                epochs = event_files.read(where)["time/iterations_per_second"].values()
                rates[named(algorithm)].append(statistics.median([*epochs][2:]))  # after warm-up
    return rates


def read(args: argparse.Namespace) -> Curves:
    """Return the curves of all runs that have got far enough to count."""
    found: dict[str, dict[str, dict[int, Curve]]] = {}
    for algorithm in args.algorithms:
        name = named(algorithm)
        found[name] = {task: {} for task in args.tasks}
        for task in args.tasks:
            for seed in args.seeds:
                where = directory(args, algorithm, task, seed)
                scalars = event_files.read(where) if where.is_dir() else {}
                curve = sorted(scalars.get("eval/mean_reward", {}).items())
                if curve and curve[-1][0] >= args.iterations:
                    found[name][task][seed] = curve
    return found


def nonfinite(args: argparse.Namespace, curves: Curves) -> dict[str, dict[str, list[int]]]:
    """Return how many steps each run has thrown away, as their state was not finite."""

    def count(*run: Any) -> int:
        return round(
            sum(event_files.read(directory(args, *run))["health/nonfinite_steps"].values())
        )

    return {
        name: {task: [count(name, task, seed) for seed in seeds] for task, seeds in tasks.items()}
        for name, tasks in curves.items()
    }


def score(
    curves: Curves, name: str, base: str, when: float, scale: Mapping[str, float]
) -> dict[str, Any] | None:
    """Return the score of `name` beside `base`, where every task has a run of both.

    Both are read off at `when`, times their `scale`.
    """
    rng, draws = np.random.default_rng(0), []
    values = {
        (algorithm, task): [at(curve, when * scale[algorithm]) for curve in runs.values()]
        for algorithm in (name, base)
        for task, runs in curves[algorithm].items()
    }
    if not all(values.values()):
        return None
    tasks = list(curves[name])

    def mean(pick: Any) -> float:
        means = {key: np.mean(pick(found)) for key, found in values.items()}
        return float(np.mean([means[name, task] / means[base, task] for task in tasks]))

    draws = [mean(lambda found: rng.choice(found, len(found))) for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "score": round(mean(lambda found: found), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "seeds": min(map(len, values.values())),
    }


def tabulate(curves: Curves, counts: list[int]) -> list[dict[str, Any]]:
    """Return mean and each seed's return, by task, algorithm and iterations."""
    return [
        {
            "task": task,
            "algorithm": name,
            "iterations": count,
            "mean": round(statistics.mean(values)),
            "seeds": [round(value) for value in values],
        }
        for name, tasks in curves.items()
        for task, runs in tasks.items()
        for count in counts
        if (values := [at(curve, count) for curve in runs.values()])
    ]


def main() -> None:
    """Train, judge, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", default=["sac", "csac"])
    tasks = ["HalfCheetah-v5", "Walker2d-v5", "Humanoid-v5"]
    parser.add_argument("--tasks", nargs="+", default=tasks)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=100_000)
    parser.add_argument("--flags", default=FLAGS, help="of every training")
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--published", type=pathlib.Path)
    parser.add_argument("--only_read", action="store_true")
    parser.add_argument("--speed", type=int, default=0, help="short trainings of each")
    parser.add_argument("--speed_iterations", type=int, default=10_000, help="of one of these")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    args = parser.parse_args()
    before = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    rates = before.get("iterations_per_second", {})
    if args.speed:
        rates = speed(args.algorithms, args.tasks[0], args.speed, args.speed_iterations)
    args.runs.mkdir(parents=True, exist_ok=True)
    if not args.only_read:
        for seed in args.seeds:
            for task in args.tasks:
                for algorithm in args.algorithms:
                    where = directory(args, algorithm, task, seed)
                    flags = f"{args.flags} --iterations {args.iterations}"
                    train(algorithm, task, seed, where, flags)
    write(args, read(args), rates)


def write(args: argparse.Namespace, curves: Curves, rates: Mapping[str, list[float]]) -> None:
    """Judge, print and draw."""
    base, *others = names = [named(algorithm) for algorithm in args.algorithms]
    counts = [round(args.iterations * share / 10) for share in range(2, 11)]
    same = dict.fromkeys(names, 1.0)
    result: dict[str, Any] = {
        "benchmark": "learning_tasks",
        "algorithms": args.algorithms,
        "flags": args.flags,
        "table": tabulate(curves, counts),
        "scores": {
            name: {count: score(curves, name, base, count, same) for count in counts}
            for name in others
        },
    }
    if rates:
        per_second = {name: statistics.median(values) for name, values in rates.items()}
        longest = int(args.iterations / max(per_second.values()) / 60)
        result["iterations_per_second"] = rates
        result["scores_by_minutes"] = {
            name: {
                minutes: score(curves, name, base, 60 * minutes, per_second)
                for minutes in range(1, longest + 1)
            }
            for name in others
        }
    result |= {"curves": curves, "nonfinite_steps": nonfinite(args, curves)}
    if args.published:
        result["published"] = {
            task: published(args.published, task, args.iterations) for task in args.tasks
        }
    for task in args.tasks if args.png else ():
        draw(task, result, args.png.with_stem(f"{args.png.stem}_{pathlib.Path(task).name}"))
    common.write(result, args.json)


def draw(task: str, result: Mapping[str, Any], png: pathlib.Path) -> None:
    """Draw the curves on a task, beside what others reached with the same algorithms."""
    curves = result["curves"]
    labelled = {name: [*tasks[task].values()] for name, tasks in curves.items() if tasks[task]}
    points = {
        f"{name} as published: mean and deviation of {entry['seeds']} seeds": entry["points"]
        for name, entry in result.get("published", {}).get(task, {}).items()
        if name in labelled
    }
    if labelled:
        plot.draw(labelled, png, title=f"{task}: deterministic evaluation", points=points)


if __name__ == "__main__":
    main()
