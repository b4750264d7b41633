"""`mjx-sac plot`: from the directories of runs to a file."""

import json
import math

import pytest
from helpers import cli

from mjx_sac.runs.event_files import EventWriter


def write_run(directory, values, *, commit="a", **config):
    """A run's directory with one entry per 1,000 iterations."""
    directory.mkdir(parents=True, exist_ok=True)
    described = {"config": {"env": "ant", "logdir": str(directory), **config}, "git_commit": commit}
    (directory / "kwargs.json").write_text(json.dumps(described))
    writer = EventWriter(directory, 0, print)
    for i, value in enumerate(values, 1):
        writer.log(1000 * i, {"eval/mean_reward": value, "train/actor_loss": -value})
    writer.close()
    return str(directory)


def run(capsys, *arguments):
    return cli.run(capsys, "plot", *arguments)


@pytest.fixture
def runs(tmp_path):
    """Two seeds, and a third run with another tau."""
    return [
        write_run(tmp_path / "seed-0", [1.0, 3.0], seed=0),
        write_run(tmp_path / "seed-1", [2.0, 6.0], seed=1, commit="b"),
        write_run(tmp_path / "tau", [5.0, 7.0], tau=0.5),
    ]


def test_the_last_value_of_each_group_is_printed(capsys, tmp_path, runs):
    code, out, _ = run(capsys, *runs, "--out", tmp_path / "c.csv")
    assert code == 0
    assert "tau 0.005: 4.5 (3 to 6) at 2,000 iterations" in out
    assert "eval/mean_reward, 3 runs in 2 groups" in out


def test_another_metric_as_json_with_what_trained_the_runs(capsys, tmp_path, runs):
    out = tmp_path / "c.json"
    assert run(capsys, *runs, "--metric", "train/actor_loss", "--out", out)[0] == 0
    result = json.loads(out.read_text())
    assert result["metric"] == "train/actor_loss"
    assert [group["mean"] for group in result["groups"]] == [[-1.5, -4.5], [-5.0, -7.0]]
    assert result["trained_with"] == [
        {"git_commit": "a", "versions": None, "runs": [runs[0], runs[2]]},
        {"git_commit": "b", "versions": None, "runs": [runs[1]]},
    ]


def test_each_agent_of_a_population_counts_as_a_run(capsys, tmp_path):
    where = tmp_path / "many"
    write_run(where, [], num_seeds=2)
    agents = [write_run(where / f"seed_{i}", [float(i)], seed=i) for i in range(2)]
    assert run(capsys, where, "--out", tmp_path / "c.json")[0] == 0
    (group,) = json.loads((tmp_path / "c.json").read_text())["groups"]
    assert list(group["runs"]) == agents
    assert group["mean"] == [0.5]


def test_a_run_without_the_metric_yet_is_left_out(capsys, tmp_path, runs):
    quiet = write_run(tmp_path / "quiet", [])
    code, out, _ = run(capsys, quiet, runs[0], "--out", tmp_path / "c.csv")
    assert code == 0
    assert f"{quiet}: has no eval/mean_reward yet" in out
    assert math.isclose(float((tmp_path / "c.csv").read_text().split(",")[-1]), 3.0)


def test_bad_input_is_one_line(capsys, tmp_path, runs):
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    write_run(damaged, [])
    (damaged / "kwargs.json").write_text("{")
    cases = [
        ([*runs, "--metric", "eval/mean_rewrad"], "nearest are eval/mean_reward, train/actor_loss"),
        ([*runs, "--out", "c.jpg"], "out = 'c.jpg': no such format"),
        ([*runs, "--out", "/proc/none/c.csv"], "choose another --out"),
        ([tmp_path / "empty"], "no checkpoint there"),
        ([tmp_path / "missing"], "no such directory"),
        ([tmp_path], f"4 runs below it: say {tmp_path}/*"),
        ([damaged], "kwargs.json is damaged"),
        ([write_run(tmp_path / "a" / "quiet", [])], "no curves there"),
    ]
    for arguments, words in cases:
        code, _, err = run(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert words in err
