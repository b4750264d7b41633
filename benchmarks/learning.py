r"""Train over seeds, beside a peer, what is missing; write a table, the curves and a picture.

    python benchmarks/learning.py --env ant --iterations 200000 --peer brax \
        --flags "--num_envs 16" --json ant.json --png ant.png
    python benchmarks/learning.py --env HalfCheetah-v5 --iterations 100000 --peer sbx \
        --peer_python sbx/bin/python --flags "--num_envs 1 --no_normalize_observations" \
        --published benchmarks/published.csv --task HalfCheetah-v4 --json h.json --png h.png

`--flags` are ours, to be as the peer's hyperparameters are. A run that is finished is not repeated
and one that was interrupted is resumed, so the whole may be done in parts; with `--only_read`
nothing is trained. `--published` is a table of others' returns, like `published.csv`.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys

import common
import numpy as np

from mjx_sac.runs import event_files, plot

HERE = pathlib.Path(__file__).parent
NAMES = {"brax": "Brax's SAC", "sbx": "SBX's SAC"}


def our_curve(directory: pathlib.Path) -> list[tuple[int, float]]:
    """Return (iterations, mean evaluation return) of one run."""
    return sorted(event_files.read(directory)["eval/mean_reward"].items())


def peer_curve(path: pathlib.Path) -> list[tuple[int, float]]:
    """Return the same of what `brax_sac.py` or `sbx_sac.py` wrote."""
    curve = json.loads(path.read_text())["curve"]
    return [(row["iterations"], row["mean_reward"]) for row in curve]


def at(curve: list[tuple[int, float]], iterations: int) -> float:
    """Return the curve's value, interpolated: the two evaluate at slightly different counts."""
    return float(np.interp(iterations, *zip(*curve, strict=True)))


def tabulate(
    curves: dict[str, list[list[tuple[int, float]]]], counts: list[int]
) -> list[dict[str, object]]:
    """Return for each count and name the mean and each seed's value, of runs that got so far."""
    rows = []
    for iterations in counts:
        row: dict[str, object] = {"iterations": iterations}
        for name, runs in curves.items():
            values = [at(run, iterations) for run in runs if run[-1][0] >= iterations]
            row[name] = None
            if values:
                mean = round(float(np.mean(values)))
                row[name] = {"mean": mean, "seeds": [round(v) for v in values]}
        rows.append(row)
    return rows


def train(args: argparse.Namespace, seed: int) -> None:
    """Train one seed of ours, then one of the peer's."""
    run, result = _ours(args, seed), _theirs(args, seed)
    same = f"--env {args.env} --seed {seed} --iterations {args.iterations}".split()
    ours = [sys.executable, "-m", "mjx_sac", "train", *same, "--logdir", str(run)]
    ours.append("--eval_interval=1")  # after every epoch, unless `--flags` say otherwise
    subprocess.run([*ours, *args.flags.split()], check=True, stdout=sys.stderr)
    if args.peer and not result.exists():
        theirs = [args.peer_python, str(HERE / f"{args.peer}_sac.py"), *same, "--json", str(result)]
        subprocess.run([*theirs, *args.peer_flags.split()], check=True, stdout=sys.stderr)


def _ours(args: argparse.Namespace, seed: int) -> pathlib.Path:
    return args.runs / f"{args.env}-{seed}"


def _theirs(args: argparse.Namespace, seed: int) -> pathlib.Path:
    return args.runs / f"{args.peer}-{args.env}-{seed}.json"


def published(path: pathlib.Path, task: str, most: int) -> dict[str, dict[str, object]]:
    """Return by method what others reached on `task` in up to `most` steps, and who says so.

    Points are (steps, mean, standard deviation over seeds).
    """
    found: dict[str, dict[str, object]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["task"] == task and int(row["env_steps"]) <= most:
                entry = {"source": row["source"], "seeds": int(row["seeds"]), "points": []}
                entry = found.setdefault(row["method"], entry)
                point = row["env_steps"], row["mean_return"], row["std_return"]
                entry["points"].append([float(x) for x in point])
    return found


def main() -> None:
    """Train, print a table and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flags", default="", help="of `mjx-sac train`")
    parser.add_argument("--peer", choices=NAMES)
    parser.add_argument("--peer_python", default=sys.executable)
    parser.add_argument("--peer_flags", default="")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/learning"))
    parser.add_argument("--only_read", action="store_true")
    parser.add_argument("--published", type=pathlib.Path)
    parser.add_argument("--task", help="in --published")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    for seed in () if args.only_read else args.seeds:
        train(args, seed)
    directories = [path for seed in args.seeds if (path := _ours(args, seed)).is_dir()]
    curves = {"mjx_sac": [our_curve(path) for path in directories]}
    if args.peer:
        results = [_theirs(args, seed) for seed in args.seeds]
        curves[f"{args.peer}_sac"] = [peer_curve(path) for path in results if path.exists()]
    counts = [round(args.iterations * share / 10) for share in range(2, 11)]
    others = published(args.published, args.task, args.iterations) if args.published else {}
    if args.png:
        labels = {"mjx_sac": "mjx-sac", f"{args.peer}_sac": NAMES.get(args.peer, "")}
        points = {
            f"{method} on {args.task}, {entry['seeds']} seeds, as published": entry["points"]
            for method, entry in others.items()
        }
        title = f"{args.env}: deterministic evaluation"
        labelled = {labels[name]: runs for name, runs in curves.items()}
        plot.draw(labelled, args.png, title=title, points=points)
    kwargs = [json.loads((path / "kwargs.json").read_text()) for path in directories]
    configs = [{k: v for k, v in run["config"].items() if k != "logdir"} for run in kwargs]
    commits = sorted({str(run["git_commit"]) for run in kwargs})
    result = {
        "benchmark": "learning",
        "env": args.env,
        "table": tabulate(curves, counts),
        "curves": curves,
        "published": others,
    }
    common.write({**result, "configs": configs, "trained_at": commits}, args.json)


if __name__ == "__main__":
    main()
