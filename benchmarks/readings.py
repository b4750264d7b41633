"""How each measured figure is read off its result, as text: functions of `rows.py`."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

Result = dict[str, Any]


def number(form: str, *keys: str) -> Callable[[Result], str]:
    """Return a reader of the number that lies under `keys`."""
    return lambda result: form.format(functools.reduce(dict.__getitem__, keys, result))


def ratio(*keys: str) -> Callable[[Result], str]:
    """Return a reader of a ratio with its spread."""

    def read(result: Result) -> str:
        found = functools.reduce(dict.__getitem__, keys, result)
        return "{median:.2f} times ({min:.2f} to {max:.2f})".format(**found)

    return read


def shares_of_a_run(result: Result) -> str:
    """Return which shares of a run's time are neither physics nor learning."""
    shares = result["share_of_a_run"]
    return ", ".join(f"{shares[name]:.2%}" for name in ("evaluation", "checkpoints", "logging"))


def of_seeds(result: Result) -> str:
    """Return the rate of the most seeds in one program beside that of one."""
    rates = [row["iterations_per_second"] for row in result["curves"]["num_seeds"]]
    one, all_ = rates[0], rates[-1]
    ends = all_["min"] / one["max"], all_["max"] / one["min"]
    return f"{all_['median'] / one['median']:.2f} times ({ends[0]:.2f} to {ends[1]:.2f})"


def returns(peer: str, at: int | None = None) -> Callable[[Result], str]:
    """Return a reader of the mean return beside a peer's: at a count, or over all there are."""

    def read(result: Result) -> str:
        rows = [row for row in result["table"] if at in (None, row["iterations"])]
        names = ("mjx_sac", f"{peer.lower()}_sac")
        ours, theirs = (sum(row[name]["mean"] for row in rows) / len(rows) for name in names)
        return f"{ours:,.0f} ({peer}: {theirs:,.0f})"

    return read


def stall(result: Result) -> str:
    """Return the share of an epoch for which a checkpoint holds up training."""
    rates = dict(map(tuple, result["scalars"]["time/fps"]))
    interval = min(b - a for a, b in itertools.pairwise(rates))
    stalls = result["scalars"]["checkpoint/stall_seconds"]
    shares = [seconds * rates[step] / interval for step, seconds in stalls]
    return f"{min(shares):.2%} to {max(shares):.2%} of the time"


def environments(result: Result) -> str:
    """Return how many of others' environments train."""
    answers = [answer for group in result["table"].values() for answer in group.values()]
    train = answers.count("trains")
    broken = sum("AssertionError" in answer for answer in answers)  # their own
    refused = len(answers) - train - broken
    return f"{train} of {len(answers)} train, {refused} are refused, {broken} fails by itself"


def wins(result: Result) -> str:
    """Return how much more `csac` reaches than `sac`, a mean over tasks, with its interval."""
    last = result["scores"]["csac"][str(100_000)]
    low, high = last["interval"]
    return f"{last['score']:.2f} times ({low:.2f} to {high:.2f})"


def wins_by_time(result: Result) -> str:
    """Return the same at equal times, over the minutes that there are."""
    scores = {int(k): v["score"] for k, v in result["scores_by_minutes"]["csac"].items() if v}
    late = [score for minutes, score in scores.items() if minutes > 1]
    return f"{min(late):.2f} to {max(late):.2f} times, {scores[1]:.2f} at the first minute"


def speed_of_csac(result: Result) -> str:
    """Return its iterations per second beside SAC's, turn by turn."""
    rates = result["iterations_per_second"]
    ratios = sorted(a / b for a, b in zip(rates["csac"], rates["sac"], strict=True))
    return f"{ratios[len(ratios) // 2]:.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def long_run(name: str) -> Callable[[Result], str]:
    """Return a reader of where a long run came to, and how often it was resumed."""

    def read(result: Result) -> str:
        _, reached = result["curves"][name][0][-1]
        return f"{reached:,.0f} (resumptions: {len(result['resumed'][name])})"

    return read


def seams(result: Result) -> str:
    """Return how far what is logged moved across resumptions, beside its usual moves."""
    found = [seam["median"] for run in result["resumed"].values() for seam in run]
    return f"{min(found):.2f} to {max(found):.2f} times"


def large_checkpoint(result: Result) -> str:
    """Return bytes and seconds of a checkpoint of a large buffer, and of one that shares files."""
    found = {name: each["median"] for name, each in result["checkpoints"].items()}

    def written(which: str) -> str:
        return f"{found[f'{which}_new_bytes'] / 1e9:.2g} GB in {found[f'{which}_seconds']:.2g} s"

    waits, load = (f"{found[name]:.2g} s" for name in ("third_stall_seconds", "load_seconds"))
    return f"{written('first')}, {written('third')}, {waits}, {load}"


def trackers(what: str) -> Callable[[Result], str]:
    """Return a reader of what each tracker takes, as a share: of a "core", or on the "host"."""

    def read(result: Result) -> str:
        return ", ".join(
            "{} {median:.2%} ({min:.2%} to {max:.2%})".format(name, **found[what])
            for name, found in result["trackers"].items()
        )

    return read


def interval_shares(num_envs: int) -> Callable[[Result], str]:
    """Return a reader of the time that default intervals leave to neither physics nor learning."""

    def read(result: Result) -> str:
        shares = result["num_envs"][str(num_envs)]["shares"]
        evaluating, host = (shares[name]["median"] for name in ("eval_share", "host_share"))
        return f"{evaluating:.1%} and {host:.1%}"

    return read


def evaluated(result: Result) -> str:
    """Return what `mjx-sac eval --json` says of the return."""
    return "{mean:,.0f} (deviation {std:,.0f})".format(**result["return"])


def transposed(result: Result) -> str:
    """Return the rates of both ways to a wide layer's weight gradient."""
    rates = result["sizes"][-1]["gflops"]
    plain, tiled = (rates[f"{way}, bfloat16"]["median"] for way in ("x.T @ g", "tiled(x) @ g"))
    return f"{tiled:.0f} instead of {plain:.0f} GFLOP/s"


def beside_sac(result: Result) -> str:
    """Return the iterations that every algorithm's gradient steps allow, beside SAC's."""
    ratios = {
        name: found["iterations_beside_sac"]["median"]
        for name, found in result["algorithms"].items()
    }
    found = sorted(ratios.items(), key=lambda pair: -pair[1])
    return ", ".join(f"`{name}` {ratio:.2g}" for name, ratio in found)


def launches_of_algorithms(result: Result) -> str:
    """Return the launches of a gradient step of every packaged algorithm."""
    found = sorted(result["launches_per_update"].items(), key=lambda pair: pair[1])
    return ", ".join(f"`{name}` {count:g}" for name, count in found)
