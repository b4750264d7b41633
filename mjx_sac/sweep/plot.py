"""The picture of a sweep: points along one hyperparameter, a heat map over two, parallel coordinates over more or over ranges."""

# pyright: basic
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mjx_sac.sweep import search
from mjx_sac.sweep.search import Choice, Parameter
from mjx_sac.sweep.trials import Trial, ranked

_COLORS = "viridis"
_BEST = "#D55E00"


def draw(
    space: Sequence[Parameter], trials: Sequence[Trial], metric: str, title: str, out: pathlib.Path
) -> None:
    """Writes the picture, in the format of the suffix of `out`.

    Args:
      space: what varied.
      trials: what was tried.
      metric: what the score is.
      title: above it.
      out: the file.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    width = 7.2 if len(space) < 3 else 2.4 + 1.7 * (len(space) + 1)
    figure = Figure(figsize=(width, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    if len(space) == 1:
        _points(axes, space[0], trials, metric)
    elif len(space) == 2 and all(isinstance(parameter, Choice) for parameter in space):
        _heat_map(figure, axes, space, trials, metric)
    else:
        _parallel(figure, axes, space, trials, metric)
    axes.set_title(title, fontsize="medium", pad=12)
    figure.savefig(out)


def _order(parameter: Parameter, trials: Sequence[Trial]) -> list[Any]:
    """Its values, numbers from small to large."""
    values = list(dict.fromkeys(trial.settings[parameter.name] for trial in trials))
    return sorted(values) if all(_is_number(value) for value in values) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _logarithmic(values: Sequence[Any]) -> bool:
    return min(values) > 0 and max(values) >= 10 * min(values)


def _best(trials: Sequence[Trial]) -> Trial | None:
    first = ranked(trials)[:1]
    return first[0] if first and math.isfinite(first[0].score) else None


def _points(axes: Any, parameter: Parameter, trials: Sequence[Trial], metric: str) -> None:
    values = _order(parameter, trials)
    numbers = all(_is_number(value) for value in values)
    by_value = sorted(trials, key=lambda trial: values.index(trial.settings[parameter.name]))
    x = {v: v if numbers else i for i, v in enumerate(values)}
    known = [trial for trial in by_value if math.isfinite(trial.score)]
    place = [x[trial.settings[parameter.name]] for trial in known]
    means = [trial.score for trial in known]
    ends = [[t.score - min(t.scores) for t in known], [max(t.scores) - t.score for t in known]]
    axes.errorbar(
        place, means, ends, fmt="o-" if numbers else "o", color="#0072B2", capsize=3, linewidth=1
    )
    if best := _best(trials):
        label = f"best: {search.show(best.settings[parameter.name])}"
        axes.plot(
            x[best.settings[parameter.name]],
            best.score,
            "o",
            color=_BEST,
            markersize=9,
            label=label,
        )
        axes.legend(frameon=False)
    if numbers and _logarithmic(values):
        axes.set_xscale("log")
    if isinstance(parameter, Choice):
        axes.set_xticks([*x.values()], [search.show(value) for value in x])
        axes.minorticks_off()
    axes.set(xlabel=parameter.name, ylabel=metric)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _heat_map(
    figure: Any, axes: Any, space: Sequence[Parameter], trials: Sequence[Trial], metric: str
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    across, up = (_order(parameter, trials) for parameter in space)
    table = np.full((len(up), len(across)), np.nan)
    cells = {
        (up.index(t.settings[space[1].name]), across.index(t.settings[space[0].name])): t
        for t in trials
    }
    for cell, trial in cells.items():
        table[cell] = trial.score
    colors = colormaps[_COLORS].with_extremes(bad="0.85")
    norm = Normalize(*(_ends(trials)))
    picture = axes.imshow(
        np.ma.masked_invalid(table), cmap=colors, norm=norm, origin="lower", aspect="auto"
    )
    for (row, column), trial in cells.items():
        text = f"{trial.score:,.4g}" if math.isfinite(trial.score) else "failed"
        if len(trial.scores) > 1 and math.isfinite(trial.score):
            text += f"\n{min(trial.scores):,.4g} to {max(trial.scores):,.4g}"
        if trial.state == "pruned":
            text += f"\nuntil {trial.iterations:,}"
        dark = math.isfinite(trial.score) and norm(trial.score) < 0.6
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize="small",
            color="white" if dark else "black",
        )
    if best := _best(trials):
        row, column = next(cell for cell, trial in cells.items() if trial is best)
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                fill=False,
                edgecolor=_BEST,
                linewidth=4,
                clip_on=False,
            )
        )
    axes.set_xticks(range(len(across)), [search.show(value) for value in across])
    axes.set_yticks(range(len(up)), [search.show(value) for value in up])
    axes.set(xlabel=space[0].name, ylabel=space[1].name)
    figure.colorbar(picture, ax=axes, label=metric)


def _ends(trials: Sequence[Trial]) -> tuple[float, float]:
    finite = [trial.score for trial in trials if math.isfinite(trial.score)] or [0.0]
    return min(finite), max(finite) if max(finite) > min(finite) else min(finite) + 1.0


class _Axis:
    """A hyperparameter, or the score, from 0 at the bottom to 1 at the top."""

    def __init__(self, name: str, values: list[Any], parameter: Parameter | None = None) -> None:
        self.name = name
        self.numbers = all(_is_number(value) for value in values)
        self.values = values
        choice = isinstance(parameter, Choice)
        if self.numbers:
            ends = (
                (min(values), max(values))
                if parameter is None or choice
                else (parameter.low, parameter.high)
            )
            self.low, self.high = ends if ends[0] < ends[1] else (ends[0] - 1, ends[0] + 1)
            log = parameter is not None and (_logarithmic(values) if choice else parameter.log)
            self.scale = np.log10 if log else (lambda x: x)
        else:
            self.low, self.high, self.scale = -0.5, len(values) - 0.5, lambda x: x
        self.choice, self.log = choice or not self.numbers, self.numbers and self.scale is np.log10

    def at(self, value: Any) -> float:
        number = value if self.numbers else self.values.index(value)
        low, high = self.scale(self.low), self.scale(self.high)
        return float((self.scale(number) - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        """Place and text."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        if self.choice:
            return [(self.at(value), search.show(value)) for value in self.values]
        locator = (
            LogLocator(subs=(1.0, 2.0, 5.0) if self.high < 100 * self.low else (1.0,))
            if self.log
            else MaxNLocator(5)
        )
        slack = 1e-9 * abs(self.high - self.low)
        values = [
            v
            for v in locator.tick_values(self.low, self.high)
            if self.low - slack <= v <= self.high + slack
        ]
        return [
            (self.at(value), f"{value:,.6g}" if value >= 1e-3 or value <= 0 else f"{value:g}")
            for value in values
        ]


def _parallel(
    figure: Any, axes: Any, space: Sequence[Parameter], trials: Sequence[Trial], metric: str
) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = [trial for trial in trials if math.isfinite(trial.score)]
    columns = [_Axis(p.name, _order(p, trials), p) for p in space] + [
        _Axis(metric, [*_ends(trials)])
    ]
    norm, colors, best = Normalize(*_ends(trials)), colormaps[_COLORS], _best(trials)
    for trial in sorted(
        trials, key=lambda trial: trial.score if math.isfinite(trial.score) else -math.inf
    ):
        y = [column.at(trial.settings[column.name]) for column in columns[:-1]]
        if trial not in finite:
            axes.plot(range(len(y)), y, ":", color="0.6", linewidth=1)
            continue
        y.append(columns[-1].at(trial.score))
        pruned = trial.state == "pruned"
        axes.plot(
            range(len(y)),
            y,
            "--" if pruned else "-",
            color=colors(norm(trial.score)),
            linewidth=1 if pruned else 1.6,
        )
        if trial is best:
            axes.plot(
                range(len(y)),
                y,
                "o-",
                color=_BEST,
                linewidth=3,
                label=f"best: {trial.score:,.4g}",
                zorder=5,
            )
    for x, column in enumerate(columns):
        axes.axvline(x, color="black", linewidth=0.8, zorder=1)
        for place, text in column.ticks():
            axes.plot([x - 0.02, x], [place, place], color="black", linewidth=0.8, zorder=6)
            axes.text(
                x - 0.035,
                place,
                text,
                ha="right",
                va="center",
                fontsize="small",
                zorder=6,
                bbox=_BOX,
            )
    axes.set_xticks(
        range(len(columns)), [column.name + (" (log)" if column.log else "") for column in columns]
    )
    axes.tick_params(length=0, pad=8)
    axes.set(xlim=(-0.3, len(columns) - 0.9), ylim=(-0.03, 1.03), yticks=[])
    axes.spines[:].set_visible(False)
    handles = [
        (ls, text) for state, ls, text in _STYLES if any(trial.state == state for trial in trials)
    ]
    for style, text in handles:
        axes.plot([], [], style, color="0.5", label=text)
    figure.colorbar(ScalarMappable(norm, colors), ax=axes, label=metric, pad=0.02)
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize="small")


_BOX: dict[str, Any] = {
    "boxstyle": "round,pad=0.1",
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.9,
}
_STYLES = (("pruned", "--", "stopped by the pruner"), ("failed", ":", "failed"))
