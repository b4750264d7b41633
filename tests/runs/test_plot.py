"""Learning curves: what is grouped, the numbers beside ones worked by hand, and what a person is told."""

import csv
import json
import math

import pytest
from helpers import cli

from mjx_sac.config import UsageError
from mjx_sac.runs import plot
from mjx_sac.runs.event_files import EventWriter, read


def write_run(directory, values, *, first=1000, commit="a", **config):
    """A run's directory with one entry per 1,000 iterations."""
    directory.mkdir(parents=True, exist_ok=True)
    described = {"config": {"env": "ant", "logdir": str(directory), **config}, "git_commit": commit}
    (directory / "kwargs.json").write_text(json.dumps(described))
    logger = EventWriter(directory, first - 1000, print)
    for i, value in enumerate(values):
        logger.log(first + 1000 * i, {"eval/mean_reward": value, "train/actor_loss": -value})
    logger.close()
    return str(directory)


def run(capsys, *arguments):
    return cli.run(capsys, "plot", *arguments)


def test_curves_are_read_without_what_an_interrupted_run_lost(tmp_path):
    """It logged at 1000 to 4000, had saved at 2000, and went on from there."""
    write_run(tmp_path, [1.0, 2.0, 30.0, 40.0])
    write_run(tmp_path, [3.0], first=3000)
    assert read(tmp_path)["eval/mean_reward"] == {1000: 1.0, 2000: 2.0, 3000: 3.0}


def test_a_half_written_record_ends_a_curve(tmp_path):
    write_run(tmp_path, [1.0, 2.0])
    path = next(tmp_path.glob("events*"))
    path.write_bytes(path.read_bytes()[:-6])
    assert read(tmp_path)["eval/mean_reward"] == {1000: 1.0}


def test_a_damaged_record_is_named(tmp_path):
    write_run(tmp_path, [1.0, 2.0])
    path = next(tmp_path.glob("events*"))
    data = bytearray(path.read_bytes())
    at = data.index(b"eval/mean_reward")
    data[at - 1] = 0xFF  # the length of the tag
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is damaged at byte"):
        read(tmp_path)


def test_mean_and_interval_by_hand():
    """Runs that were logged at different iterations: interpolated, and only where both are."""
    summary = plot.summarise([[(0, 0.0), (20, 20.0)], [(10, 30.0), (20, 40.0), (30, 90.0)]])
    assert summary.x.tolist() == [10, 20]
    assert summary.mean.tolist() == [20.0, 30.0]  # (10 + 30) / 2, (20 + 40) / 2
    assert (summary.low.tolist(), summary.high.tolist()) == ([10.0, 20.0], [30.0, 40.0])
    assert summary.interval == "mean, minimum to maximum"


def test_from_five_runs_on_the_interval_is_the_quartiles():
    summary = plot.summarise([[(0, y)] for y in (0.0, 1.0, 2.0, 3.0, 100.0)])
    assert (summary.low.tolist(), summary.mean.tolist(), summary.high.tolist()) == (
        [1.0],
        [21.2],
        [3.0],
    )
    assert "quartile" in summary.interval


def test_runs_are_one_group_unless_something_that_is_learned_with_differs():
    """A field an older version had not counts as its default: `critic_layer_norm` is False."""
    a = {"env": "ant", "seed": 0, "logdir": "a", "iterations": 100, "tau": 0.005}
    alike = {
        "seed": 1,
        "logdir": "b",
        "iterations": 200,
        "critic_layer_norm": False,
        "num_devices": 8,
    }
    assert plot.group([a, {**a, **alike}]) == ["ant", "ant"]
    assert plot.group([a, {**a, "tau": 0.01}, {**a, "critic_layer_norm": True}]) == [
        "tau 0.005, no critic_layer_norm",
        "tau 0.01, no critic_layer_norm",
        "tau 0.005, critic_layer_norm",
    ]
    assert plot.group([a, {**a, "env": "hopper"}]) == ["ant", "hopper"]
    assert plot.group([a, {**a, "hidden_sizes": [64, 64]}])[1] == "hidden_sizes 64,64"


@pytest.fixture
def runs(tmp_path):
    """Two seeds, and a third run with another tau."""
    paths = [
        write_run(
            tmp_path / f"seed-{seed}", [1.0 + seed, 3.0 + 3 * seed], seed=seed, commit="ab"[seed]
        )
        for seed in (0, 1)
    ]
    return [*paths, write_run(tmp_path / "tau", [5.0, 7.0], tau=0.5)]


def test_numbers_as_csv_and_json(capsys, tmp_path, runs):
    code, out, _ = run(capsys, *runs, "--out", str(tmp_path / "deeper" / "c.csv"))
    assert code == 0
    assert "tau 0.005: 4.5 (3 to 6) at 2,000 iterations" in out
    rows = list(csv.DictReader((tmp_path / "deeper" / "c.csv").open()))
    assert [
        (r["group"], r["runs"], r["iterations"], r["eval/mean_reward"], r["low"], r["high"])
        for r in rows
    ] == [
        ("tau 0.005", "2", "1000", "1.5", "1", "2"),
        ("tau 0.005", "2", "2000", "4.5", "3", "6"),
        ("tau 0.5", "1", "1000", "5", "5", "5"),
        ("tau 0.5", "1", "2000", "7", "7", "7"),
    ]
    assert (
        run(capsys, *runs, "--metric", "train/actor_loss", "--out", str(tmp_path / "c.json"))[0]
        == 0
    )
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["metric"] == "train/actor_loss"
    assert [group["mean"] for group in result["groups"]] == [[-1.5, -4.5], [-5.0, -7.0]]
    assert result["groups"][1]["runs"] == {runs[2]: [[1000, -5.0], [2000, -7.0]]}
    assert result["trained_with"] == [
        {"git_commit": "a", "versions": None, "runs": [runs[0], runs[2]]},
        {"git_commit": "b", "versions": None, "runs": [runs[1]]},
    ]


@pytest.mark.parametrize(
    ("suffix", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_pictures(capsys, tmp_path, runs, suffix, head):
    out = tmp_path / f"c.{suffix}"
    assert run(capsys, *runs, "--out", str(out))[0] == 0
    assert out.read_bytes().startswith(head)


def test_a_picture_shows_every_run_the_mean_the_interval_and_points(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, _: kept.append(figure))
    plot.draw(
        {"a": [[(0, 0.0), (1, 2.0)], [(0, 2.0), (1, 4.0)]]},
        tmp_path / "a.png",
        points={"paper": [(1, 9.0)]},
    )
    (axes,) = kept[0].axes
    drawn = [line.get_ydata().tolist() for line in axes.lines]
    assert [y for y in drawn if len(y)] == [[0.0, 2.0], [2.0, 4.0], [1.0, 3.0], [9.0]]
    assert axes.collections[0].get_paths()[0].get_extents().bounds == (
        0.0,
        0.0,
        1.0,
        4.0,
    )  # left, low, width, height
    assert [text.get_text() for text in kept[0].legends[0].get_texts()] == [
        "a (2 runs: mean, minimum to maximum)",
        "paper",
    ]


def test_bad_input_is_one_line(capsys, tmp_path, runs):
    (tmp_path / "empty").mkdir()
    quiet = write_run(tmp_path / "quiet", [])
    cases = [
        (
            [*runs, "--metric", "eval/mean_rewrad"],
            "no run has it; nearest first, there are eval/mean_reward, train/actor_loss",
        ),
        ([*runs, "--out", "c.jpg"], "out = 'c.jpg': no such format"),
        ([*runs, "--out", "/proc/none/c.csv"], "choose another --out"),
        ([str(tmp_path / "empty")], "no checkpoint there"),
        ([str(tmp_path / "missing")], "no such directory"),
        ([str(tmp_path)], f"4 runs lie in it: say {tmp_path}/*"),
        ([quiet], "no curves there"),
    ]
    for arguments, words in cases:
        code, _, err = run(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert words in err


def test_a_run_without_the_metric_yet_is_named_and_left_out(capsys, tmp_path, runs):
    quiet = write_run(tmp_path / "quiet", [])
    code, out, _ = run(capsys, quiet, runs[0], "--out", str(tmp_path / "c.csv"))
    assert code == 0
    assert f"{quiet}: has no eval/mean_reward yet" in out
    assert math.isclose(float((tmp_path / "c.csv").read_text().split(",")[-1]), 3.0)
