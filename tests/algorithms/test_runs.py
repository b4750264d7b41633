"""Runs of algorithms with networks of their own: resumed bit for bit, and used in every way."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.algorithms import TINY, layers
from helpers.runs import make_config, scalars
from helpers.slider import Inner, Slider

import mjx_sac
from mjx_sac import envs
from mjx_sac.envs.base import State
from mjx_sac.policy import numpy_policy
from mjx_sac.policy.evaluate import evaluate_policy
from mjx_sac.policy.record import record
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.info import inspect
from mjx_sac.training.compiled import acting
from mjx_sac.training.host import train
from mjx_sac.types import Step, named_leaves

RUNS = {
    # One environment: the actor moves in every other vector step, and epochs are one vector step.
    "flashsac": {
        "num_envs": 1, "log_interval": 1, "warm_up_steps": 8, "iterations": 24,
        "schedule_iterations": 24,
    },
    # Six gradient steps per vector step, of which the third and the sixth move the actor.
    "xqc": {
        "num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 64,
        "schedule_iterations": 64, "updates_per_iteration": 3.0,
    },
    "simbav2": {"num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 32,
                "schedule_iterations": 32},
    "crossq": {"num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 32},
    "fasttd3": {"num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 32,
                "schedule_iterations": 32, "final_lr": 0.5},
    # Four gradient steps per vector step, of which the last moves the actor, all the temperature.
    "fastsac": {"num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 32,
                "updates_per_iteration": 2.0},
    "brc": {"num_envs": 2, "log_interval": 8, "warm_up_steps": 8, "iterations": 32},
}  # fmt: skip
HALF = {"flashsac": 15, "xqc": 32, "simbav2": 16, "crossq": 16, "fasttd3": 16, "fastsac": 16,
        "brc": 16}  # fmt: skip
"""Iterations from which runs are resumed."""


OBSERVATIONS = np.random.default_rng(0).normal(0, 2, (50, 2)).astype(np.float32)


class Cart(Slider):
    """Also observes a bit that is drawn at its start; its reward falls with the action's size."""

    observation_size = 2

    def reset(self, key):
        return self._of(0.0, jax.random.bernoulli(key))

    def step(self, state, action):
        position, bit = state.observation
        state, no = self._of(position + 1, bit), jnp.array(False)
        return state, Step(state.observation, 1 - jnp.square(action[0]), position >= 2, no)

    def _of(self, position, bit):
        state = self._at(position)
        return State(jnp.stack([position, bit * 1.0]), Inner(state.inner.qpos))


@pytest.fixture(autouse=True, scope="module")
def _registered():
    envs.register("cart", Cart)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Per algorithm, when first asked for: where it was trained, and what `train` returned."""

    @functools.cache
    def result(name):
        directory = tmp_path_factory.mktemp(name) / "run"
        return directory, train.train(config(name, directory))

    return result


def config(name, directory, **changes):
    common = {"env": "cart", "checkpoint_interval": 1, "episode_length": 10, "max_to_keep": 99}
    settings = {**common, **RUNS[name], **TINY[name], **changes, "algorithm": name}
    return make_config(logdir=str(directory), **settings)


@pytest.mark.parametrize("name", TINY)
def test_a_resumed_run_is_the_uninterrupted_one(results, name, tmp_path):
    directory, whole = results(name)
    half = shutil.copytree(directory, tmp_path / "half")
    for step in steps(half):
        if step > HALF[name]:
            shutil.rmtree(checkpoint_path(half, step))
    if name == "flashsac":
        there = dict(array_store.read(checkpoint_path(half, HALF[name]) / "state"))
        assert int(there["train.since_actor_update"]) == 1, "of two, moved in the first"
        assert int(there["exploration.left"]) > 0, "noise that still holds"
    resumed = train.train(config(name, half, episodes_per_eval=0)).state
    assert jax.tree.structure(resumed) == jax.tree.structure(whole.state)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole.state)
    assert (resumed.exploration is None) is (name not in ("flashsac", "fasttd3"))
    if config(name, half).normalize_rewards:
        assert float(resumed.reward_scaler.largest) > 0


def test_each_seed_in_one_program_is_its_own_run(results, tmp_path):
    # A gradient step per vector step, of which every other one moves all actors.
    both = train.train(config("flashsac", tmp_path / "both", num_seeds=2, episodes_per_eval=0))
    other = train.train(config("flashsac", tmp_path / "other", seed=1, episodes_per_eval=0))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    for agent, alone in enumerate((results("flashsac")[1], other)):
        one = dict(named_leaves(alone.state))
        for name, value in named_leaves(both.state):
            shared = name in ("train.since_actor_update", "warm_up_left")
            assert value.shape == (() if shared else (2, *one[name].shape)), name
            close(value if shared else value[agent], one[name], err_msg=name)
        loss = "train/critic_loss"
        assert both.metrics[loss][agent] == pytest.approx(alone.metrics[loss], rel=1e-3)
    assert not np.array_equal(*both.state.exploration.value), "agents differ"


def test_learning_rates_follow_the_schedule(results):
    # Optimizers count their own steps: FlashSAC's actor has moved in every other one.
    for name, updates, delay in (("flashsac", 16, 2), ("xqc", 3 * 56, 3)):
        state = results(name)[1].state.train
        for optimizer, count in (("critic", updates), ("actor", updates / delay)):
            adam, schedule = getattr(state, f"{optimizer}_optimizer")
            assert (int(adam.count), int(schedule.count)) == (count, count)


def test_an_actor_that_stayed_logs_nothing(results):
    # FlashSAC's updates begin at iteration 9, the first of which moves the actor.
    curves = scalars(results("flashsac")[0])
    assert list(curves["train/critic_loss"]) == list(range(9, 25))
    actors = ("train/actor_loss", "train/ent_coef", "diagnostics/log_prob_mean")
    for tag in actors:
        assert list(curves[tag]) == list(range(9, 25, 2)), tag
        assert np.isfinite([*curves[tag].values()]).all()
    assert set(curves["replay/reward_divisor"]) == set(range(1, 25))


@pytest.mark.parametrize("name", TINY)
def test_the_policy_is_the_runs_actor(results, name):
    directory, result = results(name)
    policy, state = mjx_sac.load_policy(directory), result.state
    for path, stats in layers(policy.actor_params.get("batch_stats", {})).items():
        moved = max(np.abs(stats["mean"]).max(), np.abs(stats["var"] - 1).max())
        assert moved > 1e-3, (path, "is not what it was at the start")
    args = (state.train.actor, state.normalizer, jnp.asarray(OBSERVATIONS))
    expected = acting.distribution(*args, **result.experiment.static).mode()
    np.testing.assert_allclose(policy.predict(OBSERVATIONS)[0], expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3, "observations make a difference"


@pytest.mark.parametrize("name", TINY)
def test_evaluation_plays_the_policy(results, name):
    policy = mjx_sac.load_policy(results(name)[0])
    returns = []
    for bit in (0, 1):
        actions, _ = policy.predict([[position, bit] for position in range(3)])
        returns.append(float(np.sum(1 - np.square(actions))))
    played = evaluate_policy(policy, episodes=16)
    assert set(played["length"]) == {3}
    apart = np.abs(played["return"][:, None] - returns).min(axis=1)
    assert apart.max() < 1e-5
    logged = results(name)[1].metrics["eval/min_reward"]
    assert min(returns) - 1e-5 <= logged <= max(returns) + 1e-5


@pytest.mark.parametrize("name", TINY)
def test_a_recording_shows_the_policy(results, name, tmp_path):
    (episode,) = record(mjx_sac.load_policy(results(name)[0]), tmp_path / "cart.html")
    assert (episode.length, episode.ended) == (3, True)
    assert "atob(" in (tmp_path / "cart.html").read_text()


@pytest.mark.parametrize("form", ["npz", "stablehlo", "onnx"])
@pytest.mark.parametrize("name", TINY)
def test_exports_act_as_the_policy(results, name, form, tmp_path):
    policy, path = mjx_sac.load_policy(results(name)[0]), tmp_path / "policy"
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    assert mjx_sac.export_policy(policy, path, form) <= 1e-5
    if form == "npz":
        actions = numpy_policy.load(path)(OBSERVATIONS)
        np.testing.assert_allclose(actions, policy.predict(OBSERVATIONS)[0], atol=1e-5)


def test_info_says_what_is_not_default(results):
    found = inspect(results("flashsac")[0])
    assert found["not_default"]["atoms"] == 11
    assert found["iterations"]["saved"] == 24
