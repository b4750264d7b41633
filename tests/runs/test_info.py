"""What a run's directory says of it, as JSON."""

import json

import pytest
from helpers.runs import make_config, save_logged_run, save_run

from mjx_sac.config import UsageError
from mjx_sac.runs.directory import write_kwargs
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.runs.info import inspect


def test_progress_returns_sizes_and_configuration(tmp_path):
    save_logged_run(tmp_path)
    found = inspect(tmp_path)
    assert found["iterations"] == {"saved": 96, "logged": 96, "total": 96}
    assert found["iterations_per_second"] == 9.0
    assert found["returns"] == {"eval/mean_reward": {"64": 12.0, "96": 10.0}}
    assert found["not_default"]["episode_length"] == 5
    assert "tau" not in found["not_default"]
    assert found["config"] == json.loads((tmp_path / "kwargs.json").read_text())["config"]
    assert json.loads(json.dumps(found)) == found


def test_files_that_checkpoints_share_count_once(tmp_path):
    save_logged_run(tmp_path)
    found = inspect(tmp_path)
    sizes = [checkpoint["bytes"] for checkpoint in found["checkpoints"]]
    files = [path for path in (tmp_path / "checkpoints" / "96").rglob("*") if path.is_file()]
    assert sizes[-1] == sum(path.stat().st_size for path in files)
    counted_twice = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert max(sizes) < found["bytes_on_disk"] < counted_twice


def test_the_curves_of_several_agents_are_averaged(tmp_path):
    config = make_config(logdir=str(tmp_path), num_seeds=2)
    write_kwargs(config, tmp_path)
    for name, values in (("seed_0", {32: 1.0, 64: 3.0}), ("seed_1", {64: 5.0})):
        writer = EventWriter(tmp_path / name, 0, pytest.fail)
        for iterations, value in values.items():
            writer.log(iterations, {"eval/mean_reward": value})
        writer.close()
    found = inspect(tmp_path)
    assert found["returns"]["eval/mean_reward"] == {"32": 1.0, "64": 4.0}
    assert found["agents"]["seed_1"]["eval/mean_reward"] == 5.0
    assert found["agents"]["seed_0"]["rollout/ep_rew_mean"] is None


def test_a_run_without_a_checkpoint_or_with_a_damaged_one(tmp_path):
    write_kwargs(make_config(logdir=str(tmp_path)), tmp_path)
    assert inspect(tmp_path)["checkpoints"] == []
    (tmp_path / "checkpoints" / "32").mkdir(parents=True)
    found = inspect(tmp_path)
    assert found["iterations"] == {"saved": 0, "logged": 0, "total": 128}
    assert "cannot be read" in found["checkpoints"][0]["damaged"]
    (tmp_path / "kwargs.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        inspect(tmp_path)


def test_without_kwargs_json_the_checkpoint_says_it(tmp_path):
    save_run(tmp_path)
    found = inspect(tmp_path)
    assert (found["env"], found["iterations"]["saved"]) == ("counter", 32)
    assert found["versions"]["jax"]
