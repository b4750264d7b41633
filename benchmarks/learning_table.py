"""Learning curves side by side: ours from event files, a peer's from the JSON of `brax_sac.py` or `sbx_sac.py`.

python benchmarks/learning_table.py --ours runs/seed_* --peers brax_*.json --json benchmarks/results/learning_ant.json
"""

import argparse
import json
import pathlib

import common
import numpy as np


def our_curve(directory: pathlib.Path) -> list[tuple[int, float]]:
    """(iterations, mean evaluation return) of one run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory)).Reload().Scalars("eval/mean_reward")
    return [(event.step, event.value) for event in events]


def peer_curves(path: pathlib.Path) -> tuple[str, list[list[tuple[int, float]]]]:
    """The name of a peer and the same of its run, or of its runs in an older result of this command."""
    result = json.loads(path.read_text())
    if "curves" in result:
        return next((name, runs) for name, runs in result["curves"].items() if name != "mjx_sac")
    name = "brax_sac" if "brax" in result["peer"] else "sbx_sac"
    return name, [[(row["iterations"], row["mean_reward"]) for row in result["curve"]]]


def at(curve: list[tuple[int, float]], iterations: int) -> float:
    """The curve's value, interpolated: the two evaluate at slightly different counts."""
    return float(np.interp(iterations, *zip(*curve, strict=True)))


def main() -> None:
    """Prints a table and writes the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--peers", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--at", type=int, nargs="+", default=[60_000, 80_000, 100_000, 120_000, 140_000, 160_000, 180_000, 200_000])
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    curves = {"mjx_sac": [our_curve(p) for p in args.ours]}
    for name, runs in map(peer_curves, args.peers):
        curves.setdefault(name, []).extend(runs)
    rows = []
    for iterations in args.at:
        row: dict[str, object] = {"iterations": iterations}
        for name, runs in curves.items():
            values = [at(run, iterations) for run in runs if run[-1][0] >= iterations]
            row[name] = {"mean": round(float(np.mean(values))), "seeds": [round(v) for v in values]} if values else None
        rows.append(row)
    kwargs = [json.loads((p / "kwargs.json").read_text()) for p in args.ours]
    configs = [{k: v for k, v in run["config"].items() if k != "logdir"} for run in kwargs]
    common.write({"benchmark": "learning", "table": rows, "curves": curves, "configs": configs}, args.json)


if __name__ == "__main__":
    main()
