"""Learning curves: runs grouped by configuration, their mean and how far they lie apart, as a picture or as numbers."""

# pyright: basic
import csv
import json
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import PLACES, Config, UsageError

Curve = Sequence[tuple[float, float]]
"""Points (x, y) of one run, in order of x."""

PICTURES, NUMBERS = (".png", ".pdf", ".svg"), (".csv", ".json")
FEW = 5
"""From so many runs on quartiles say more than minimum and maximum."""

# How a run is started, looked at or kept, which nothing that is learned depends on; how far it went is on the x axis.
_IRRELEVANT = (
    "logdir",
    "seed",
    "iterations",
    "checkpoint_interval",
    "max_to_keep",
    "vectorization",
    "env_timeout",
    *PLACES,
)
_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)  # Okabe and Ito: told apart by all
_INTERVALS = {1: "one run", 2: "mean, minimum to maximum", FEW: "mean, first to third quartile"}


class Summary(NamedTuple):
    """Several runs as one curve, where all of them are.

    Attributes:
      x: every x of any run within the range that all runs cover.
      mean: of the runs, each interpolated between its own points.
      low, high: their minimum and maximum, or from `FEW` runs on the quartiles.
      interval: which, in words.
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    interval: str


def summarise(runs: Sequence[Curve]) -> Summary:
    """The mean of `runs` and their interval."""
    points = [np.array(run, float).T for run in runs]
    x = np.unique(np.concatenate([run[0] for run in points]))
    x = x[(x >= max(run[0, 0] for run in points)) & (x <= min(run[0, -1] for run in points))]
    y = np.stack([np.interp(x, *run) for run in points])
    low, high = np.quantile(y, [0.25, 0.75], axis=0) if len(y) >= FEW else (y.min(0), y.max(0))
    return Summary(x, y.mean(0), low, high, _INTERVALS[max(n for n in _INTERVALS if n <= len(y))])


def group(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A label for each configuration, the same for those that train alike: what differs between groups, or the environment."""
    defaults = Config().model_dump(mode="json")
    plain = [{**defaults, **config} for config in configs]
    names = [
        name
        for name in dict.fromkeys(name for config in plain for name in config)
        if name not in _IRRELEVANT
    ]
    differing = [
        name for name in names if any(config.get(name) != plain[0].get(name) for config in plain)
    ]
    labels = [", ".join(_label(name, config.get(name)) for name in differing) for config in plain]
    return [label or str(config["env"]) for label, config in zip(labels, plain, strict=True)]


def _label(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = (
        ",".join(map(str, value))
        if isinstance(value, list)
        else "auto"
        if value is None
        else str(value)
    )
    return text if name == "env" else f"{name} {text}"


def draw(
    curves: Mapping[str, Sequence[Curve]],
    out: pathlib.Path,
    *,
    title: str = "",
    x_label: str = "iterations (environment transitions)",
    y_label: str = "return",
    points: Mapping[str, Curve] | None = None,
) -> None:
    """A picture, in the format of the suffix of `out`: for each name the mean, its interval, and every run as a thin line.

    Args:
      curves: the runs by name, in the order of the legend.
      out: the file.
      title: above it.
      x_label: of the x axis.
      y_label: of the y axis.
      points: others' figures to be seen beside the curves, by name.
    """
    from matplotlib.figure import (
        Figure,  # not pyplot: no window, no global state, half the time to import
    )
    from matplotlib.ticker import EngFormatter

    figure = Figure(
        figsize=(7.2, 4.4 + 0.25 * (len(curves) + len(points or {}))), dpi=150, layout="constrained"
    )
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for i, (name, runs) in enumerate(curves.items()):
        _draw_group(
            axes, name, runs, _COLORS[i % len(_COLORS)], ("-", "--", ":")[i // len(_COLORS) % 3]
        )
    for i, (name, curve) in enumerate((points or {}).items()):
        axes.plot(
            *zip(*curve, strict=True),
            "osD^vPX*"[i % 8],
            color="0.25",
            markerfacecolor="none",
            label=name,
        )
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


def write(
    curves: Mapping[str, Mapping[str, Curve]],
    out: pathlib.Path,
    metric: str,
    title: str = "",
    sources: Mapping[str, Any] | None = None,
) -> None:
    """The runs (by their directories) of every group, drawn or as numbers: the suffix of `out` says which.

    Args:
      curves: of each group the runs.
      out: the file.
      metric: what the curves show.
      title: above a picture.
      sources: by directory what a run was trained with; written once for all runs that share it. In JSON alone.

    Raises:
      UsageError: the suffix is none of `PICTURES` and `NUMBERS`, or the file cannot be written.
    """
    if out.suffix not in PICTURES + NUMBERS:
        raise UsageError(
            f"out = {str(out)!r}: no such format: end it in {', '.join(PICTURES + NUMBERS)}"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".json":
            groups = [_numbers(*pair) for pair in curves.items()]
            out.write_text(
                json.dumps(
                    {"metric": metric, "groups": groups, "trained_with": _shared(sources or {})},
                    indent=1,
                )
            )
        elif out.suffix == ".csv":
            _write_csv(curves, out, metric)
        else:
            draw(
                {name: list(runs.values()) for name, runs in curves.items()},
                out,
                title=title,
                y_label=metric,
            )
    except OSError as error:
        raise UsageError(f"out = {str(out)!r}: {error.strerror}: choose another --out") from None


def _numbers(name: str, runs: Mapping[str, Curve]) -> dict[str, Any]:
    summary = summarise([*runs.values()])
    arrays = {key: value.tolist() for key, value in summary._asdict().items() if key != "interval"}
    return {
        "name": name,
        "interval": summary.interval,
        "iterations": arrays.pop("x"),
        **arrays,
        "runs": dict(runs),
    }


def _shared(sources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each different source with the runs that have it."""
    different = [
        source for i, source in enumerate(sources.values()) if source not in [*sources.values()][:i]
    ]
    return [
        {**source, "runs": [run for run, its in sources.items() if its == source]}
        for source in different
    ]


def _write_csv(curves: Mapping[str, Mapping[str, Curve]], out: pathlib.Path, metric: str) -> None:
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "runs", "interval", "iterations", metric, "low", "high"])
        for name, runs in curves.items():
            summary = summarise([*runs.values()])
            for row in zip(summary.x, summary.mean, summary.low, summary.high, strict=True):
                writer.writerow(
                    [name, len(runs), summary.interval, *(f"{number:.8g}" for number in row)]
                )
