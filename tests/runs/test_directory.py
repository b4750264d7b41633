"""A run's directory: who may write there, and what is removed from it."""

import json
import multiprocessing

import pytest
from helpers.runs import make_config

from mjx_sac.algorithms import loader
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
    for name in ("128", "32", "deleting-16", "damaged-64", "writing-256"):
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


def test_kwargs_json_remembers_earlier_parts(tmp_path):
    """An older version wrote no history; what was lost before a checkpoint is no part."""
    mine, config = tmp_path / "mine.py", make_config(logdir=str(tmp_path), num_seeds=2)
    write_kwargs(config, tmp_path)
    path = tmp_path / "kwargs.json"
    old = {**json.loads(path.read_text()), "git_commit": "old"}
    del old["history"]
    path.write_text(json.dumps(old))
    for begun, text in ((32, "a"), (64, "b"), (64, "c"), (96, "c")):
        mine.write_text(f"from mjx_sac.losses import Losses\nlosses = Losses()  # {text}\n")
        changed = config.model_copy(update={"algorithm": str(mine)})
        loader.find(str(mine))
        write_kwargs(changed, tmp_path, begun)
    for directory in (tmp_path, tmp_path / "seed_1"):
        stored = json.loads((directory / "kwargs.json").read_text())
        history = stored["history"]
        assert [part["iterations"] for part in history][-2:] == [32, 64], "at 96 nothing changed"
        sha256 = loader.sha256(str(mine))
        assert history[-1]["algorithm_sha256"] == sha256 == stored["algorithm_sha256"]
        assert history[-1]["git_commit"] == stored["git_commit"]
    first = json.loads(path.read_text())["history"][0]
    assert (first["iterations"], first["git_commit"]) == (0, "old")
    assert "jax" in first["versions"]


def test_a_damaged_kwargs_json_ends_no_run(tmp_path):
    for text in ("{", "[]", '{"history": 5}', '{"history": [{}]}'):
        (tmp_path / "kwargs.json").write_text(text)
        write_kwargs(make_config(logdir=str(tmp_path)), tmp_path, 64)
        assert json.loads((tmp_path / "kwargs.json").read_text())["history"][-1]["iterations"] == 64


def test_clearing_leaves_the_users_files(tmp_path):
    write_kwargs(make_config(logdir=str(tmp_path), num_seeds=3), tmp_path)
    (tmp_path / "checkpoints" / "32").mkdir(parents=True)
    (tmp_path / "seed_0" / "mine").touch()
    (tmp_path / "notes").touch()
    (tmp_path / "events.out.tfevents.1").touch()
    clear(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"notes", "seed_0", "seed_0/mine"}
