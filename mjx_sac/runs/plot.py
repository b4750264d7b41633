"""Learning curves: runs grouped by configuration, as a picture or as numbers."""

# pyright: basic
import csv
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mjx_sac.config import Config, UsageError, absolute, marked, require

Curve = Sequence[tuple[float, float]]
"""Points (x, y) of one run, in order of x."""

PICTURES, NUMBERS = (".png", ".pdf", ".svg"), (".csv", ".json")
FEW = 5
"""With so many runs or more, quartiles say more than minimum and maximum."""

# Runs of a group differ in their seeds; how far they went is on the x axis.
_IRRELEVANT = {"seed", "iterations", *marked(Config, "how")}
_WITHOUT_SCHEDULE = ("sac", "td3", "redq", "cql")
# Okabe and Ito's, which the colour-blind can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INTERVALS = {1: "one run", 2: "mean, minimum to maximum", FEW: "mean, first to third quartile"}


class Summary(NamedTuple):
    """Several runs as one curve, where all of them have been.

    Attributes:
      x: every x of any run within the range that all runs cover.
      mean: over runs, each interpolated between its points.
      low: minimum over runs, or the first quartile of `FEW` or more.
      high: maximum, or the third quartile.
      interval: which of them, in words.
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    interval: str


def summarise(runs: Sequence[Curve]) -> Summary:
    """Return the mean of `runs` and their interval."""
    points = [np.array(run, float).T for run in runs]
    x = np.unique(np.concatenate([run[0] for run in points]))
    x = x[(x >= max(run[0, 0] for run in points)) & (x <= min(run[0, -1] for run in points))]
    y = np.stack([np.interp(x, *run) for run in points])
    low, high = np.quantile(y, [0.25, 0.75], axis=0) if len(y) >= FEW else (y.min(0), y.max(0))
    return Summary(x, y.mean(0), low, high, _INTERVALS[max(n for n in _INTERVALS if n <= len(y))])


def group(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each configuration, the same for those that train alike.

    It says what differs between groups; the environment where there is only one group.
    """
    defaults = Config().model_dump(mode="json")
    full = [{**defaults, **config} for config in configs]
    for config in full:
        if config["algorithm"] in _WITHOUT_SCHEDULE:
            config["schedule_iterations"] = None
    names = dict.fromkeys(name for config in full for name in config if name not in _IRRELEVANT)
    differing = [k for k in names if any(config.get(k) != full[0].get(k) for config in full)]
    labels = [", ".join(_label(k, config.get(k)) for k in differing) for config in full]
    return [label or str(config["env"]) for label, config in zip(labels, full, strict=True)]


def _label(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if name == "env" else f"{name} {'auto' if value is None else text}"


def draw(
    curves: Mapping[str, Sequence[Curve]],
    out: Path | BinaryIO,
    *,
    title: str = "",
    x_label: str = "iterations (environment transitions)",
    y_label: str = "return",
    points: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> None:
    """Draw the mean and interval of each group, and every run as a thin line.

    `curves` are runs by the name of their group, in the order of the legend; `points` are others'
    figures to show beside them, by name: (x, y) or (x, y, deviation). The suffix of `out` says the
    format.
    """
    from matplotlib.figure import Figure  # pyplot would open windows and takes twice the time
    from matplotlib.ticker import EngFormatter

    points = points or {}
    size = (7.2, 4.4 + 0.25 * (len(curves) + len(points)))
    figure = Figure(size, dpi=150, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for i, (name, runs) in enumerate(curves.items()):
        again, color = divmod(i, len(_COLORS))
        _draw_group(axes, name, runs, _COLORS[color], ("-", "--", ":")[again % 3])
    for i, (name, curve) in enumerate(points.items()):
        columns, marker = zip(*curve, strict=True), "osD^vPX*"[i % 8]
        look = {"color": "0.25", "markerfacecolor": "none", "capsize": 3}
        axes.errorbar(*columns, fmt=marker, label=name, **look)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    figure.legend(loc="outside lower left", frameon=False, fontsize="small")
    figure.savefig(out)


def _draw_group(axes: Any, name: str, runs: Sequence[Curve], color: str, style: str) -> None:
    summary = summarise(runs)
    for run in runs if len(runs) > 1 else ():
        axes.plot(*zip(*run, strict=True), color=color, alpha=0.35, linewidth=0.7)
    axes.fill_between(summary.x, summary.low, summary.high, color=color, alpha=0.15, linewidth=0)
    how = summary.interval if len(runs) == 1 else f"{len(runs)} runs: {summary.interval}"
    marker = "." if len(summary.x) < 2 else ""
    axes.plot(summary.x, summary.mean, style, color=color, linewidth=2, marker=marker)
    axes.plot([], [], style, color=color, linewidth=2, label=textwrap.fill(f"{name} ({how})", 95))


def check(out: Path) -> None:
    """Raise UsageError where no file with this suffix can be written here."""
    if out.suffix not in PICTURES + NUMBERS:
        known = ", ".join(PICTURES + NUMBERS)
        raise UsageError(f"out = {str(out)!r}: no such format: end it in {known}")
    if out.suffix in PICTURES:
        require(["matplotlib"], "plot", f"out = {str(out)!r}")


def write(
    curves: Mapping[str, Mapping[str, Curve]],
    out: Path,
    metric: str,
    title: str = "",
    sources: Mapping[str, Any] | None = None,
) -> None:
    """Draw groups of runs, or write them as numbers, as the suffix of `out` says.

    `curves` are those of each group, by the directories of its runs; JSON also has `sources`: by
    directory, what a run was trained with.

    Raises:
      UsageError: the file cannot be written, see `check`.
    """
    check(out)
    try:
        out = absolute(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".json":
            groups = [_numbers(name, runs) for name, runs in curves.items()]
            body = {"metric": metric, "groups": groups, "trained_with": _shared(sources or {})}
            out.write_text(json.dumps(body, indent=1), encoding="utf-8")
        elif out.suffix == ".csv":
            _write_csv(curves, out, metric)
        else:
            runs = {name: list(group.values()) for name, group in curves.items()}
            draw(runs, out, title=title, y_label=metric)
    except OSError as error:
        raise UsageError(f"out = {str(out)!r}: {error.strerror}: choose another --out") from None


def _numbers(name: str, runs: Mapping[str, Curve]) -> dict[str, Any]:
    x, mean, low, high, interval = summarise([*runs.values()])
    numbers = {"iterations": x, "mean": mean, "low": low, "high": high}
    lists = {key: value.tolist() for key, value in numbers.items()}
    return {"name": name, "interval": interval, **lists, "runs": dict(runs)}


def _shared(sources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each different source once, with the runs that have it."""
    keys = {run: json.dumps(source, sort_keys=True) for run, source in sources.items()}
    return [
        {**json.loads(key), "runs": [run for run, its in keys.items() if its == key]}
        for key in dict.fromkeys(keys.values())
    ]


def _write_csv(curves: Mapping[str, Mapping[str, Curve]], out: Path, metric: str) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "runs", "interval", "iterations", metric, "low", "high"])
        for name, runs in curves.items():
            *columns, interval = summarise([*runs.values()])
            for row in zip(*columns, strict=True):
                writer.writerow([name, len(runs), interval, *(f"{x:.8g}" for x in row)])
