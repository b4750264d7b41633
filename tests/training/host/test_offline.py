"""Runs that learn from data sets: statistics, resuming, what is refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.cli import run
from helpers.datasets import episode, recorded
from helpers.envs import Factoring
from helpers.runs import flags, make_config, scalars

import mjx_sac
from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.policy.evaluate import evaluate_policy
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.training.compiled import reward_scaler
from mjx_sac.training.host import offline, train
from mjx_sac.types import Step

QUIET = {"episodes_per_eval": 0}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run whose replay buffer is the data set."""
    directory = tmp_path_factory.mktemp("source") / "run"
    train.train(make_config(logdir=str(directory), iterations=64, **QUIET))
    return directory


@pytest.fixture(scope="module")
def learned(source, tmp_path_factory):
    """Offline and online, when first asked for: where it was trained, and the result."""
    found = {}

    def result(offline):
        if offline not in found:
            directory = tmp_path_factory.mktemp("learned") / "run"
            found[offline] = directory, train.train(config(source, directory, offline))
        return found[offline]

    return result


def config(source, directory, offline, **changes):
    how = {"algorithm": "td3bc", "dataset": f"run:{source}", "offline": offline, "max_to_keep": 9}
    return make_config(logdir=str(directory), **{**how, **changes})


@pytest.mark.parametrize("offline", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(learned, source, offline, tmp_path):
    directory, whole = learned(offline)
    half = shutil.copytree(directory, tmp_path / "half")
    for step in steps(half):
        if step > 64:
            shutil.rmtree(checkpoint_path(half, step))
    resumed = train.train(config(source, half, offline, **QUIET)).state
    jax.tree.map(np.testing.assert_array_equal, resumed, whole.state)


@pytest.mark.parametrize("offline", [True, False])
def test_no_checkpoint_holds_the_data_but_every_one_their_hash(learned, source, offline):
    directory, result = learned(offline)
    described = json.loads((directory / "kwargs.json").read_text())
    for step in steps(directory):
        manifest = array_store.manifest(checkpoint_path(directory, step) / "state")
        assert not [name for name in manifest["leaves"] if name.startswith("dataset")]
        assert manifest["dataset_sha256"] == described["dataset_sha256"]
    assert result.state.dataset.reward.shape == (64, 1)


def test_offline_every_epoch_learns_and_is_evaluated(learned):
    directory, result = learned(True)
    curves = scalars(directory)
    assert curves["train/n_updates"] == {32: 32, 64: 64, 96: 96, 128: 128}
    assert list(curves["train/cloning_loss"]) == list(curves["eval/mean_reward"])
    assert set(curves["replay/size"].values()) == {64}
    assert not [tag for tag in curves if tag.startswith("rollout/")]
    assert result.metrics["eval/mean_reward"] == 0 + 1 + 2 + 3 + 4


def test_statistics_are_those_of_the_data(learned):
    state = learned(True)[1].state
    seen = np.asarray(state.dataset.observation)[np.asarray(state.dataset.row)[:, 0], 0]
    assert float(state.normalizer.count) == 64
    np.testing.assert_allclose(state.normalizer.mean, seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state.normalizer.var, seen.var(axis=0), rtol=1e-4)


def test_online_they_begin_there_and_move_on(learned):
    # 64 recorded observations, and 128 that were acted on.
    assert float(learned(False)[1].state.normalizer.count) == 64 + 128


def test_the_reward_scaler_goes_through_the_episodes_in_order():
    data = recorded(episode(1, 3, True), episode(2, 2, False), episode(0, 2, True))
    own = make_config(dataset="x-v0", normalize_rewards=True, discount=0.5)
    known = offline.statistics(data, own)["reward_scaler"]
    state, none = reward_scaler.init(1), jnp.zeros((1, 2))
    for reward, terminated, last in zip(data.reward, data.terminated, data.last, strict=True):
        ends = jnp.array([terminated]), jnp.array([last and not terminated])
        step = Step(none, jnp.array([reward]), *ends)
        state = reward_scaler.update(state, step, jnp.ones(1, bool), 0.5)
    np.testing.assert_allclose(known.stats.mean, state.stats.mean, rtol=1e-5)
    np.testing.assert_allclose(known.stats.var, state.stats.var, rtol=1e-5)
    assert float(known.largest) == float(state.largest)
    assert known.returns.shape == (4,), "those of the run's own environments begin at zero"


def test_agents_begin_with_the_same_statistics_each_with_its_discount():
    members = ({"discount": 0.0}, {"discount": 0.5})
    own = make_config(dataset="x-v0", normalize_rewards=True, members=members, num_seeds=2)
    known = offline.statistics(recorded(), own)
    assert known["normalizer"].mean.shape == (4, 2)
    largest = known["reward_scaler"].largest
    # Rewards 10, 11, 12 | 20, 21, and the last of an episode begins a sum.
    assert largest.tolist() == [21, 21, 20 + 6, 20 + 6]


def test_seeds_share_it(source, tmp_path):
    both = train.train(config(source, tmp_path / "both", True, num_seeds=2, **QUIET))
    assert both.state.dataset.reward.shape == (64, 1)
    assert both.state.normalizer.mean.shape == (2, 2)
    again = train.train(config(source, tmp_path / "both", True, num_seeds=2, iterations=160))
    assert again.metrics["train/n_updates"].tolist() == [160, 160]


@pytest.mark.parametrize("form", ["npz", "stablehlo", "onnx"])
def test_its_policy_is_used_without_the_data(learned, form, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    policy = mjx_sac.load_policy(learned(True)[0])
    assert mjx_sac.export_policy(policy, tmp_path / "policy", form) <= 1e-5
    assert set(evaluate_policy(policy, episodes=3)["return"]) == {0 + 1 + 2 + 3 + 4}


def test_other_data_are_refused(learned, source, tmp_path):
    directory = shutil.copytree(learned(True)[0], tmp_path / "run")
    other = tmp_path / "other"
    train.train(make_config(logdir=str(other), iterations=64, seed=5, **QUIET))
    message = r"run began with data of SHA-256 \w{12}, not \w{12}: give it the same, choose another"
    with pytest.raises(UsageError, match=message):
        train.train(config(other, directory, True, iterations=160))
    moved = shutil.copytree(source, tmp_path / "moved")  # the same data elsewhere
    assert train.train(config(moved, directory, True, iterations=160, **QUIET)).metrics
    plain = tmp_path / "plain"
    train.train(make_config(logdir=str(plain), iterations=64, **QUIET))
    with pytest.raises(UsageError, match="plain began without a data set, not"):
        train.train(make_config(logdir=str(plain), dataset=f"run:{source}"))


def test_bad_input_is_one_line_before_anything_is_compiled(source, tmp_path, capsys):
    envs.register("factoring", Factoring)

    def message(*arguments, **changes):
        command = ("train", *flags(logdir=tmp_path / "run", **changes), *arguments)
        code, out, err = run(capsys, *command)
        assert (code, err.count("\n"), "compiling" in out) == (2, 1, False)
        assert not (tmp_path / "run").exists()
        return err

    assert "offline: there is nothing to learn from: name a --dataset" in message("--offline")
    here = f"run:{source}"
    assert "batch_size 7 is odd" in message(dataset=here, batch_size=7)
    assert "no such directory; did you mean run" in message(dataset=f"{here}s")
    wrong = message(dataset=here, env="factoring")
    assert "numbers in an observation: 2, the environment's 3" in wrong
