"""Measure what default intervals cost beside one long epoch, from 1 to 1,024 small environments.

    python benchmarks/interval_cost.py --json benchmarks/results/interval_cost.json

A run with default intervals, as one of `--iterations` has them (by default an evaluation of ten
episodes every twentieth, a log entry and a checkpoint every epoch), and one that is a single epoch
of as many iterations take turns. The clock starts when the first epoch that learned has ended, and
runs until the next evaluation has, for two epochs at least. Networks are 64x64 with at most two
updates per vector step, so that little hides the rest. "elsewhere" is the share of time outside of
the compiled epoch: neither physics nor learning.
"""

import argparse
import itertools
import pathlib
import tempfile
import time
from typing import Any, NamedTuple

import common

Timed = dict[str, float]


def settings(env: str, num_envs: int, iterations: int) -> dict[str, Any]:
    """Return a configuration with default intervals."""
    return {
        **{"env": env, "num_envs": num_envs, "hidden_sizes": (64, 64), "warm_up_steps": 1_000},
        **{"updates_per_iteration": min(2 / num_envs, 1.0), "iterations": iterations},
        "batch_size": 2_048 if num_envs >= 1_024 else 256,
    }


def one_run(given: dict[str, Any], directory: pathlib.Path, long: bool) -> Timed:
    """Return seconds per iteration and, of them, shares: in evaluations, elsewhere on the host."""
    from mjx_sac import resolve, train

    config = resolve({**given, "logdir": str(directory)})
    epoch = config.epoch_iterations
    epochs = max(2, -(-config.iterations // 20 // epoch))  # from one evaluation to the next
    changed = {"iterations": max(config.iterations, (epochs + 2) * epoch)}
    if long:
        span = epochs * epoch
        changed = {"iterations": 3 * span, "log_interval": span, "checkpoint_interval": 9 * span}
        epochs, changed = 1, {**changed, "episodes_per_eval": 0}
    ticks: list[Tick] = []

    def tick(iterations: int, metrics: dict[str, Any], state: object) -> bool:
        if metrics["train/n_updates"]:
            rates = metrics["time/iterations_per_second"], metrics["time/fps"]
            ticks.append(Tick(iterations, time.perf_counter(), *rates))
        return len(ticks) <= epochs

    train(resolve({**given, **changed, "logdir": str(directory)}), callbacks=[tick])
    return shares(ticks)


class Tick(NamedTuple):
    """The end of an epoch: when, and iterations per second of it alone and with its evaluation."""

    iterations: int
    when: float
    rate: float
    fps: float


def shares(ticks: list[Tick]) -> Timed:
    """Return what happened between the first and the last tick."""
    pairs = list(itertools.pairwise(ticks))
    wall = ticks[-1].when - ticks[0].when
    epochs = sum((new.iterations - old.iterations) / new.rate for old, new in pairs)
    evaluated = sum((new.iterations - old.iterations) / new.fps for old, new in pairs)
    return {
        "seconds": wall / (ticks[-1].iterations - ticks[0].iterations),
        "elsewhere": 1 - epochs / wall,
        "eval_share": (evaluated - epochs) / wall,
        "host_share": 1 - evaluated / wall,
    }


def main() -> None:
    """Take turns, and compare within each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="inverted_pendulum")
    parser.add_argument("--num_envs", type=int, nargs="+", default=[1, 16, 128, 1_024])
    parser.add_argument("--iterations", type=int, default=200_000, help="of the run meant")
    args = common.in_turns(parser)
    found: dict[int, dict[str, Any]] = {}
    for num_envs in args.num_envs:
        given, runs = settings(args.env, num_envs, args.iterations), {"default": [], "long": []}
        with tempfile.TemporaryDirectory() as name:
            for turn in range(args.repeats):
                for kind in sorted(runs, reverse=turn % 2 == 1):
                    directory = pathlib.Path(name) / f"{kind}_{turn}"
                    runs[kind].append(one_run(given, directory, kind == "long"))
                    print(num_envs, kind, runs[kind][-1], flush=True)
        found[num_envs] = {"settings": given, "runs": runs, **compare(runs)}
    result = {"benchmark": "interval_cost", "env": args.env, "iterations": args.iterations}
    common.write({**result, "repeats": args.repeats, "num_envs": found}, args.json)


def compare(runs: dict[str, list[Timed]]) -> dict[str, Any]:
    """Return rates, the time beside one long epoch, and shares of the default's time."""
    from mjx_sac.bench.spread import ratio, spread

    seconds = {kind: [run["seconds"] for run in done] for kind, done in runs.items()}
    return {
        "iterations_per_second": {k: spread([1 / x for x in s]) for k, s in seconds.items()},
        "seconds_beside_long": ratio(seconds["default"], seconds["long"]),
        "shares": {
            name: spread([run[name] for run in runs["default"]])
            for name in ("elsewhere", "eval_share", "host_share")
        },
    }


if __name__ == "__main__":
    main()
