"""The picture of a sweep: a heat map over two lists of values, else Optuna's slices."""

# pyright: basic
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from optuna.trial import FrozenTrial, create_trial
from optuna.visualization.matplotlib import plot_slice

from mjx_sac.sweep.space import Choice, Parameter, show


def draw(
    study: optuna.Study, space: Sequence[Parameter], metric: str, title: str, out: pathlib.Path
) -> None:
    """Write the picture of a study to `out`; pruned trials are shown with their last value."""
    plt.switch_backend("Agg")  # Optuna draws with pyplot
    # They warn of what is experimental, and of a single value, which has no width.
    with warnings.catch_warnings(action="ignore"), plt.rc_context():
        if len(space) == 2 and all(isinstance(parameter, Choice) for parameter in space):
            _heat_map(space, study.trials, metric)
        else:
            shown = optuna.create_study(direction="maximize")
            for t in study.trials:  # Optuna would leave out those that were pruned
                if t.value is not None:
                    parts = {"params": t.params, "distributions": t.distributions}
                    shown.add_trial(create_trial(value=t.value, **parts))
            plot_slice(shown, [parameter.name for parameter in space], target_name=metric)
        figure = plt.gcf()
        for axes in figure.axes:
            axes.set_title("")
        figure.suptitle(title, fontsize="medium", y=0.95)
        figure.savefig(out, dpi=150, bbox_inches="tight")
        plt.close(figure)


def _heat_map(space: Sequence[Any], trials: Sequence[FrozenTrial], metric: str) -> None:
    """Draw the scores, the best one framed."""
    x, y = space
    plt.figure(figsize=(2.5 + 1.2 * len(x.values), 2 + 0.6 * len(y.values)))
    table = np.full((len(y.values), len(x.values)), np.nan)
    best = max((trial.value for trial in trials if trial.value is not None), default=None)
    for trial in trials:
        column, row = (p.stored.index(trial.params[p.name]) for p in space)
        text = "failed"
        if trial.value is not None:
            table[row, column], text = trial.value, f"{trial.value:,.4g}"
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 2 * (trial.value == best)}
        plt.text(column, row, text, ha="center", va="center", bbox=box)
    plt.imshow(table, origin="lower", aspect="auto")
    plt.colorbar(label=metric)
    plt.xticks(range(len(x.values)), [show(value) for value in x.values])
    plt.yticks(range(len(y.values)), [show(value) for value in y.values])
    plt.gca().set(xlabel=x.name, ylabel=y.name)
