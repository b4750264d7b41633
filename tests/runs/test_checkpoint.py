"""Checkpoints: what is saved is restored, old ones go, damage and misfits are named."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.checkpoint import Checkpoints, restore
from mjx_sac.runs.directory import checkpoint_path, steps


def items(x):
    return {"state": {"a": jnp.full(3, x), "b": {"c": jnp.int32(x)}}, "policy": {"a": jnp.ones(2)}}


def save(directory, iterations=(32,), max_to_keep=5, **items_):
    checkpoints = Checkpoints(directory, max_to_keep, {"config": {"env": "ant"}}, fetch=fetch)
    for step in iterations:
        checkpoints.save(step, {**items(step), **items_}, {"returns": [1.0, None]})
    checkpoints.wait()
    checkpoints.close()
    return checkpoints


def fetch(named):
    return {name: np.asarray(x) for name, x in named}


def load(directory, step, like=None):
    return restore(directory, step, like or items(0)["state"], lambda _, x: x)


def test_the_state_comes_back_with_what_the_header_says(tmp_path):
    save(tmp_path)
    state = load(tmp_path, 32)
    jax.tree.map(np.testing.assert_array_equal, state, items(32)["state"])
    manifest = array_store.manifest(checkpoint_path(tmp_path, 32) / "policy")
    assert (manifest["iterations"], manifest["returns"]) == (32, [1.0, None])
    assert manifest["config"] == {"env": "ant"}


def test_the_oldest_are_deleted_and_the_cost_is_known(tmp_path):
    checkpoints = save(tmp_path, (32, 64, 96, 128), max_to_keep=2)
    assert steps(tmp_path) == [96, 128]
    files = [path for path in checkpoint_path(tmp_path, 128).rglob("*") if len(path.name) == 64]
    assert checkpoints.cost["checkpoint/bytes"] == sum(path.stat().st_size for path in files)
    assert checkpoints.cost["checkpoint/new_bytes"] < checkpoints.cost["checkpoint/bytes"]


def test_a_save_that_was_skipped_is_no_save(tmp_path):
    with pytest.raises(TrainingError, match="not written at 32 iterations: a later one is there"):
        save(tmp_path, (64, 32))
    assert steps(tmp_path) == [64]


def test_the_newest_must_be_the_one_that_was_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, 5, {}, fetch=fetch)
    checkpoints.finish(0)  # nothing was saved yet
    checkpoints.save(32, items(1))
    checkpoints.finish(32)
    shutil.rmtree(checkpoint_path(tmp_path, 32))
    with pytest.raises(TrainingError, match="not there any more: that of 32 iterations was saved"):
        checkpoints.finish(32)
    checkpoints.close()


@pytest.mark.parametrize("name", ["deleting-32", "writing-32", "32.orbax-checkpoint-tmp"])
def test_what_a_killed_process_left_is_removed(tmp_path, name):
    left = tmp_path / "checkpoints" / name
    left.mkdir(parents=True)
    save(tmp_path, (64,))
    assert not left.exists()


@pytest.mark.parametrize("item", ["state", "policy"])
def test_a_changed_file_is_damage_before_anything_is_used(tmp_path, item):
    save(tmp_path)
    directory = checkpoint_path(tmp_path, 32) / item
    path = directory / array_store.manifest(directory)["packed"]
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(array_store.DamagedError, match=f"{path.name} has been changed"):
        load(tmp_path, 32)


def test_arrays_that_do_not_fit_are_named(tmp_path):
    save(tmp_path)
    like = {"a": jnp.ones((3, 2)), "d": jnp.int32(0)}
    with pytest.raises(UsageError) as error:
        load(tmp_path, 32, like)
    for words in (r"a is int32[3], this run's float32[3, 2]", "b.c is int32[], this run's missing"):
        assert words in str(error.value)
    assert "d is missing, this run's int32[]" in str(error.value)


def test_older_names_of_arrays_are_understood(tmp_path):
    save(tmp_path, state={"numbers": {"tau": jnp.float32(0.5)}})
    state = load(tmp_path, 32, {"hyperparameters": {"tau": jnp.float32(0)}})
    assert state["hyperparameters"]["tau"] == 0.5


def test_a_counter_for_each_agent_is_understood(tmp_path):
    save(tmp_path, state={"train": {"since_actor_update": jnp.array([1, 1, 1])}})
    state = load(tmp_path, 32, {"train": {"since_actor_update": jnp.int32(0)}})
    assert state["train"]["since_actor_update"] == 1
    assert state["train"]["since_actor_update"].shape == ()


def test_a_process_that_does_not_write_only_sends(tmp_path):
    sent = []
    checkpoints = Checkpoints(tmp_path, 5, {}, fetch=lambda x: sent.append(dict(x)), writes=False)
    checkpoints.save(32, items(1))
    checkpoints.wait()
    checkpoints.close()
    assert [set(named) for named in sent] == [{"a", "b.c"}, {"a"}]
    assert not list(tmp_path.iterdir())
