"""Measure the time per iteration that training loses to trackers and films, beside a run with none.

    python benchmarks/tracker_cost.py --json benchmarks/results/tracker_cost_ant.json

A run with none and one with each tracker take turns, in an order that moves on by one each turn.
The clock runs from when the tracker has got the first epoch that learns until the last epoch ends:
starting a tracker happens once, and `finish_seconds` is what a run waits for at its end. What time
per iteration is too noisy for: `core`, the seconds of a processor core that the tracker's thread
and processes used in one second of training, `start_core_seconds`, what they had used before, and
`host`, the share of time outside of compiled epochs, in which training stands still. All trackers
write to this machine. `--trackers films` has four films instead.
"""

import argparse
import json
import os
import pathlib
import tempfile
import threading
import time

import common
import psutil


def one_run(config: dict, tracker: str, directory: pathlib.Path) -> dict[str, float]:
    """Return what a run took: seconds per iteration, and what the tracker used."""
    from mjx_sac import resolve, train

    tracks = tracker not in ("none", "films")
    what = {"track": tracker} if tracks else {"film_interval": config["iterations"] // 4}
    resolved = resolve({**config, "logdir": str(directory), **(what if tracker != "none" else {})})
    record, clock = directory / "tracking" / f"{tracker}.json", []

    def tick(iterations: int, metrics: dict, state: object) -> None:
        if metrics["train/n_updates"] and not clock and tracks:
            while not record.exists() or _logged(record) < iterations:
                time.sleep(0.05)
        if metrics["train/n_updates"]:
            epoch = iterations - clock[-1][0] if clock else 0
            in_epoch = epoch / metrics["time/iterations_per_second"]
            clock.append((iterations, time.perf_counter(), core_seconds(), in_epoch))

    before = core_seconds()
    train(resolved, callbacks=[tick])
    (first, started, used, _), (last, ended, used_all, _) = clock[0], clock[-1]
    return {
        "seconds": (ended - started) / (last - first),
        "core": (used_all - used) / (ended - started),
        "start_core_seconds": used - before,
        "host": 1 - sum(in_epoch for *_, in_epoch in clock) / (ended - started),
        "finish_seconds": time.perf_counter() - ended,
    }


def core_seconds() -> float:
    """Return what trackers' threads and all processes that this one started have used of cores."""
    me = psutil.Process()
    ids = {thread.native_id for thread in threading.enumerate() if thread.name.startswith("track ")}
    threads = sum(x.user_time + x.system_time for x in me.threads() if x.id in ids)
    ended = me.cpu_times().children_user + me.cpu_times().children_system
    return threads + ended + sum(sum(child.cpu_times()[:4]) for child in me.children(True))


def _logged(record: pathlib.Path) -> int:
    return json.loads(record.read_text())["runs"][""]["logged"]


def main() -> None:
    """Take turns, and compare within each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--iterations", type=int, default=40_000, help="of a run")
    parser.add_argument("--log_interval", type=int, default=1_000)
    parser.add_argument("--warm_up_steps", type=int, default=1_000)
    parser.add_argument("--trackers", default="wandb,trackio,mlflow")
    args = common.in_turns(parser)
    kinds = ["none", *args.trackers.split(",")]
    names = ("env", "iterations", "log_interval", "warm_up_steps")
    config = {name: getattr(args, name) for name in names} | {"episodes_per_eval": 0}
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"WANDB_MODE": "offline", "TRACKIO_DIR": f"{name}/trackio"}
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        for turn in range(args.repeats):
            for i in range(len(kinds)):
                kind = kinds[(turn + i) % len(kinds)]
                runs[kind].append(one_run(config, kind, pathlib.Path(name) / f"{kind}_{turn}"))
                print(kind, runs[kind][-1], flush=True)
    result = {"benchmark": "tracker_cost", **config, "repeats": args.repeats, "runs": runs}
    common.write({**result, "trackers": compare(runs)}, args.json)


def compare(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict]:
    """Return each tracker's version, share of time, microseconds per iteration lost and cores."""
    from mjx_sac.bench.spread import ratio, spread
    from mjx_sac.runs import provenance

    seconds = {kind: [run["seconds"] for run in done] for kind, done in runs.items()}
    none = seconds.pop("none")
    return {
        kind: {
            "version": provenance.version(kind),
            "seconds_beside_none": ratio(theirs, none),
            "lost_microseconds_per_iteration": spread(
                [1e6 * (a - b) for a, b in zip(theirs, none, strict=True)]
            ),
            **{
                name: spread([run[name] for run in runs[kind]])
                for name in ("core", "start_core_seconds", "host", "finish_seconds")
            },
        }
        for kind, theirs in seconds.items()
    }


if __name__ == "__main__":
    main()
