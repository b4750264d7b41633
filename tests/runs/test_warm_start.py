"""Runs that begin with the networks of another: `--from`."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import hub as hubs
from helpers.cli import run
from helpers.envs import Asymmetric, Counter
from helpers.runs import flags, make_config, save_run

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.host import train
from mjx_sac.types import named_leaves

QUIET = {"episodes_per_eval": 0}


class Wide(Counter):
    action_size = 3


class Long(Counter):
    """Observes its start twice."""

    observation_size = 3

    def _twice(self, seen):
        return seen.replace(observation=jnp.append(seen.observation, seen.observation[0]))

    def reset(self, key):
        return self._twice(super().reset(key))

    def step(self, state, action):
        state, step = super().step(state, action)
        state = self._twice(state)
        return state, step._replace(observation=state.observation)


@pytest.fixture(autouse=True, scope="module")
def _more_environments():
    for made in (Wide, Long, Asymmetric):
        envs.register(made.__name__.lower(), made)


def learned(state):
    """As if it had been trained: no array is what a run begins with, nor are targets networks."""
    arrays = state.train
    changed = jax.tree.map(lambda x: x + 7 if x.dtype == jnp.float32 else x + 3, arrays)
    target = jax.tree.map(lambda x: x - 2, arrays.target_critic_params)
    return state.replace(train=changed.replace(target_critic_params=target))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("source") / "run"
    return directory, save_run(directory, change=learned)


def first(directory, **how):
    """Return the state after an epoch of warm-up, in which no network moves."""
    found = []

    def keep(iterations, metrics, state):
        found.append(jax.tree.map(np.array, state))
        return False

    train.train(make_config(logdir=str(directory), **{**QUIET, **how}), callbacks=[keep])
    return found[0]


def refused(capsys, *arguments, **overrides):
    code, _, err = run(capsys, "train", *flags(**QUIET, **overrides), *arguments)
    assert (code, err.count("\n")) == (2, 1), err
    return err


NETWORKS = ("train.actor_params", "train.critic_params", "train.target_critic_params")


def test_networks_and_statistics_are_the_others_and_all_else_is_new(source, tmp_path):
    directory, theirs = source
    plain = dict(named_leaves(first(tmp_path / "plain")))
    ours = dict(named_leaves(first(tmp_path / "warm", from_run=str(directory))))
    for name, x in named_leaves(theirs):
        if name.startswith(NETWORKS):
            np.testing.assert_array_equal(ours[name], x)
        elif name.startswith("train."):
            np.testing.assert_array_equal(ours[name], plain[name])
            assert (np.asarray(x) != plain[name]).any(), name
    # 100 of the other's, with means -1 and 0, and the 32 of the warm-up.
    seen = {k: plain[f"normalizer.{k}"] for k in ("count", "mean")}
    assert (seen["count"], ours["normalizer.count"]) == (32, 132)
    mean = (100 * np.array([-1.0, 0.0]) + 32 * seen["mean"]) / 132
    np.testing.assert_allclose(ours["normalizer.mean"], mean, rtol=1e-5)
    for name in ("replay.size", "replay.reward", "key", "warm_up_left"):
        np.testing.assert_array_equal(ours[name], plain[name])


def test_rewards_are_scaled_as_the_other_scaled_them(tmp_path):
    how = {"normalize_rewards": True}
    theirs = first(tmp_path / "source", **how).reward_scaler
    ours = first(tmp_path / "warm", from_run=str(tmp_path / "source"), **how).reward_scaler
    assert (float(theirs.stats.count), float(ours.stats.count)) == (32, 64)
    assert float(ours.largest) == pytest.approx(float(theirs.largest))


def test_every_agent_begins_with_the_best_of_the_others(tmp_path):
    numbers = jnp.arange(3.0)

    def differ(state):
        params = jax.tree.map(
            lambda x: jnp.stack([x + i for i in numbers]), state.train.actor_params
        )
        rest = jax.tree.map(lambda x: jnp.stack([x] * 3), state)
        return rest.replace(train=rest.train.replace(actor_params=params))

    progress = {"returns": [1.0, 9.0, 4.0]}
    saved = save_run(tmp_path / "three", change=differ, progress=progress, num_seeds=3)
    three = str(tmp_path / "three")
    one, two = (
        first(tmp_path / "one", from_run=three),
        first(tmp_path / "two", from_run=three, num_seeds=2),
    )
    for theirs, ours, both in zip(
        *map(jax.tree.leaves, (s.train.actor_params for s in (saved, one, two))), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs[1])
        np.testing.assert_array_equal(both, np.stack([theirs[1]] * 2))
    assert (two.key[0] != two.key[1]).any()


def test_a_resumed_run_does_not_begin_again(source, tmp_path):
    other = shutil.copytree(source[0], tmp_path / "other")
    how = {**QUIET, "from_run": str(other), "max_to_keep": 9}
    whole = train.train(make_config(logdir=str(tmp_path / "whole"), **how)).state
    half = tmp_path / "half"
    train.train(make_config(logdir=str(half), **how), callbacks=[lambda n, *_: n < 64])
    assert json.loads((half / "kwargs.json").read_text())["config"]["from_run"] == str(other)
    shutil.rmtree(other)
    resumed = train.train(make_config(logdir=str(half), **how)).state
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    with pytest.raises(UsageError, match=r"from_run .* leave that as it is"):
        train.train(make_config(logdir=str(half), **{**how, "from_run": "another"}))


def test_what_does_not_fit_is_named_with_both_values(source, tmp_path, capsys):
    here, new = source[0], {"logdir": tmp_path / "new"}
    other = refused(capsys, "--from", here, **new, algorithm="td3")
    assert f"from = '{here}': was trained with algorithm 'sac' (now 'td3')" in other
    other = refused(capsys, "--from", here, **new, hidden_sizes=(8, 4), activation="tanh")
    assert "hidden_sizes [8] (now [8, 4]), activation 'relu' (now 'tanh'): give this run" in other
    assert "history 1 (now 2)" in refused(capsys, "--from", here, **new, history=2)
    wide = refused(capsys, "--from", here, **new, env="wide")
    assert "numbers in an action: 1 there, here 3: give this run an environment" in wide
    long = refused(capsys, "--from", here, **new, env="long")
    assert "numbers in an observation: 2 there, here 3" in long
    assert not (tmp_path / "new").exists()


def test_an_array_of_another_shape_is_named(tmp_path, capsys):
    how = {"algorithm": "csac", "num_envs": 4}
    first(tmp_path / "source", **how, atoms=5)
    said = refused(capsys, "--from", tmp_path / "source", logdir=tmp_path / "new", **how, atoms=7)
    assert "from = " in said
    assert "train.critic_params." in said
    assert "5) there, here (" in said
    said = refused(
        capsys, "--from", tmp_path / "source", logdir=tmp_path / "new", **how, atoms=5, v_max=9
    )
    assert "v_max 5.0 (now 9.0)" in said


def test_what_is_no_run_or_has_no_critics_or_is_damaged_is_refused(source, tmp_path, capsys):
    new = {"logdir": tmp_path / "new"}
    said = refused(capsys, "--from", tmp_path / "none", **new)
    assert "no such directory" in said
    run = shutil.copytree(source[0], tmp_path / "run")
    state = checkpoint_path(run, 32) / "state"
    (packed,) = (x for x in state.iterdir() if x.name == array_store.manifest(state)["packed"])
    packed.write_bytes(b"")
    assert "has been changed: its SHA-256 differs" in refused(capsys, "--from", run, **new)
    shutil.rmtree(state)
    said = refused(capsys, "--from", run, **new)
    assert "holds a policy without its critics: share it with `mjx-sac push --checkpoint`" in said
    assert not (tmp_path / "new").exists()


def test_from_a_hub_too_and_a_resumed_run_does_not_ask_there(tmp_path):
    save_run(tmp_path / "run", env="ant")  # no name of code; what is in it is a counter's
    with hubs.serve() as server:
        ann = hubs.Machine(tmp_path / "ann", server.url)
        ann.run("push", tmp_path / "run", "ann/policy")
        ann.run("push", tmp_path / "run", "ann/whole", "--checkpoint")

        def begin(name, iterations):
            own = flags(**QUIET, logdir="new", iterations=iterations)
            return ann.run("train", *own, "--from", f"hub:ann/{name}")

        code, _, err = begin("policy", 64)
        assert (code, err.count("\n")) == (2, 1)
        assert "from = 'hub:ann/policy': holds a policy without its critics" in err
        assert not (ann.home / "new").exists()
        code, out, _ = begin("whole", 64)
        assert code == 0
        assert "beginning with the networks of hub:ann/whole" in out
        asked = len(server.requests)
        assert begin("whole", 96)[0] == 0
        assert len(server.requests) == asked
