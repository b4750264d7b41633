"""Learning curves: what is grouped, the numbers beside ones worked by hand, the picture."""

import csv
import json
import sys

import pytest
from matplotlib.figure import Figure

from mjx_sac.config import UsageError
from mjx_sac.runs import plot


def test_mean_and_interval_by_hand():
    """Runs that were logged at different iterations: interpolated, and only where both are."""
    summary = plot.summarise([[(0, 0.0), (20, 20.0)], [(10, 30.0), (20, 40.0), (30, 90.0)]])
    assert summary.x.tolist() == [10, 20]
    assert summary.mean.tolist() == [20.0, 30.0]  # (10 + 30) / 2, (20 + 40) / 2
    assert (summary.low.tolist(), summary.high.tolist()) == ([10.0, 20.0], [30.0, 40.0])
    assert summary.interval == "mean, minimum to maximum"


def test_the_interval_of_five_runs_is_the_quartiles():
    summary = plot.summarise([[(0, y)] for y in (0.0, 1.0, 2.0, 3.0, 100.0)])
    assert (summary.low[0], summary.mean[0], summary.high[0]) == (1.0, 21.2, 3.0)
    assert "quartile" in summary.interval


def test_runs_that_train_alike_are_one_group():
    """A field that an older version had not counts as its default: no critic_layer_norm."""
    a = {"env": "ant", "seed": 0, "logdir": "a", "iterations": 100, "tau": 0.005}
    alike = {"seed": 1, "logdir": "b", "iterations": 200, "num_devices": 8}
    assert plot.group([a, {**a, **alike, "critic_layer_norm": False}]) == ["ant", "ant"]
    how = {"device": "cpu", "stop_at": 9.0, "eval_interval": 5, "vectorization": "async"}
    assert plot.group([a, {**a, **how, "checkpoint_interval": 7}]) == ["ant", "ant"]
    assert plot.group([a, {**a, "tau": 0.01}, {**a, "critic_layer_norm": True}]) == [
        "tau 0.005, no critic_layer_norm",
        "tau 0.01, no critic_layer_norm",
        "tau 0.005, critic_layer_norm",
    ]
    scheduled = [{**a, "schedule_iterations": n} for n in (100, 200)]
    assert plot.group(scheduled) == ["ant", "ant"], "whose learning rates are constant"
    decaying = [{**run, "algorithm": "flashsac"} for run in scheduled]
    assert plot.group(decaying) == ["schedule_iterations 100", "schedule_iterations 200"]
    assert plot.group([a, {**a, "env": "hopper"}]) == ["ant", "hopper"]
    assert plot.group([a, {**a, "hidden_sizes": [64, 64]}])[1] == "hidden_sizes 64,64"
    assert plot.group([a, {**a, "target_entropy": -1.0}])[0] == "target_entropy auto"


CURVES = {
    "slow": {"a": [(1000, 1.0), (2000, 3.0)], "b": [(1000, 2.0), (2000, 6.0)]},
    "fast": {"c": [(1000, 5.0)]},
}


def test_csv_has_a_row_per_group_and_point(tmp_path):
    plot.write(CURVES, tmp_path / "deeper" / "c.csv", "return")
    rows = list(csv.DictReader((tmp_path / "deeper" / "c.csv").open()))
    columns = ("group", "runs", "iterations", "return", "low", "high")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("slow", "2", "1000", "1.5", "1", "2"),
        ("slow", "2", "2000", "4.5", "3", "6"),
        ("fast", "1", "1000", "5", "5", "5"),
    ]


def test_json_has_the_runs_and_what_trained_them_once(tmp_path):
    sources = {"a": {"git_commit": "x"}, "b": {"git_commit": "y"}, "c": {"git_commit": "x"}}
    plot.write(CURVES, tmp_path / "c.json", "return", sources=sources)
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["metric"] == "return"
    assert [group["mean"] for group in result["groups"]] == [[1.5, 4.5], [5.0]]
    assert result["groups"][1]["runs"] == {"c": [[1000, 5.0]]}
    assert result["trained_with"] == [
        {"git_commit": "x", "runs": ["a", "c"]},
        {"git_commit": "y", "runs": ["b"]},
    ]


@pytest.mark.parametrize(
    ("suffix", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_pictures(tmp_path, suffix, head):
    plot.write(CURVES, tmp_path / f"c.{suffix}", "return", title="ant")
    assert (tmp_path / f"c.{suffix}").read_bytes().startswith(head)


def test_a_picture_shows_runs_mean_interval_and_points(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, _: kept.append(figure))
    runs = [[(0, 0.0), (1, 2.0)], [(0, 2.0), (1, 4.0)]]
    plot.draw({"a": runs}, tmp_path / "a.png", points={"paper": [(1, 9.0)]})
    (axes,) = kept[0].axes
    drawn = [list(line.get_ydata()) for line in axes.lines]
    assert [y for y in drawn if y] == [[0.0, 2.0], [2.0, 4.0], [1.0, 3.0], [9.0]]
    left_low_width_height = axes.collections[0].get_paths()[0].get_extents().bounds
    assert left_low_width_height == (0.0, 0.0, 1.0, 4.0)
    legend = [text.get_text() for text in kept[0].legends[0].get_texts()]
    assert legend == ["a (2 runs: mean, minimum to maximum)", "paper"]


@pytest.mark.parametrize(
    ("out", "words"), [("c.jpg", "no such format"), ("/proc/none/c.csv", "choose another --out")]
)
def test_a_file_that_cannot_be_written_is_refused(out, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        plot.write(CURVES, tmp_path / out, "return")


def test_only_pictures_need_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(UsageError, match="--extra plot"):
        plot.check(tmp_path / "c.png")
    plot.write(CURVES, tmp_path / "c.csv", "return")
