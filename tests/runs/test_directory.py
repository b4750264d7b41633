"""A run's directory: who may write there, and what is removed from it."""

import json
import multiprocessing

import pytest
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.runs.directory import check_writable, clear, lock, set_aside, steps, write_kwargs


def hold(path, held, done):
    with lock(path):
        held.set()
        done.wait()


def test_a_directory_another_process_trains_in_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(60)
    with (
        pytest.raises(UsageError, match=rf"process {other.pid} on .* trains there"),
        lock(tmp_path),
    ):
        pass
    done.set()
    other.join()
    with lock(tmp_path):
        pass


def test_a_new_directory_that_stays_empty_is_removed(tmp_path):
    with lock(tmp_path / "deeper" / "run"):
        pass
    assert not (tmp_path / "deeper" / "run").exists()
    with lock(tmp_path / "run"):
        (tmp_path / "run" / "mine").touch()
    assert (tmp_path / "run").is_dir()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file: choose another --logdir"):
        check_writable(tmp_path / "file" / "run")
    with (
        pytest.raises(UsageError, match="choose another --logdir"),
        lock(tmp_path / "file" / "run"),
    ):
        pass
    check_writable(tmp_path / "not" / "yet")
    assert not (tmp_path / "not").exists()


def test_only_complete_checkpoints_count(tmp_path):
    for name in ("128", "32", "deleting-16", "damaged-64", "256.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert steps(tmp_path) == [32, 128]


def test_damaged_checkpoints_are_set_aside_each_time(tmp_path):
    for _ in range(3):
        (tmp_path / "checkpoints" / "32").mkdir(parents=True)
        set_aside(tmp_path, [32])
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"damaged-32", "damaged-32-again", "damaged-32-again-again"}


def test_kwargs_json_holds_configuration_versions_and_commit(tmp_path):
    config = make_config(logdir=str(tmp_path), num_seeds=2)
    write_kwargs(config, tmp_path)
    stored = json.loads((tmp_path / "kwargs.json").read_text())
    assert stored["config"] == config.model_dump(mode="json")
    assert stored["versions"]["jax"]
    assert "git_commit" in stored
    agent = json.loads((tmp_path / "seed_1" / "kwargs.json").read_text())["config"]
    assert (agent["seed"], agent["num_seeds"]) == (1, 1)


def test_clearing_leaves_the_users_files(tmp_path):
    write_kwargs(make_config(logdir=str(tmp_path), num_seeds=3), tmp_path)
    (tmp_path / "checkpoints" / "32").mkdir(parents=True)
    (tmp_path / "seed_0" / "mine").touch()
    (tmp_path / "notes").touch()
    (tmp_path / "events.out.tfevents.1").touch()
    clear(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"notes", "seed_0", "seed_0/mine"}
