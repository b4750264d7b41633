"""Runs with `--history`: trained, resumed, and used outside training, fed by hand."""

import json

import jax
import numpy as np
import pytest
from helpers.asymmetric import ALGORITHMS, trained
from helpers.cli import run as cli
from helpers.gymnasium_envs import Walk
from helpers.runs import make_config, make_policy

import mjx_sac
from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import numpy_policy
from mjx_sac.policy.evaluate import evaluate_policy
from mjx_sac.policy.memory import ObservationError
from mjx_sac.training.host import train
from mjx_sac.types import named_leaves


@pytest.fixture(scope="module", params=ALGORITHMS)
def run(request, tmp_path_factory):
    """A finished run whose actor sees two numbers of three, and what it ended with."""
    return trained(tmp_path_factory, request.param, history=3, n_step=2)


def test_networks_see_three_observations_and_the_replay_buffer_keeps_one(run):
    own, result = run
    state = result.state
    assert state.replay.observation.shape[-1] == 3
    assert state.normalizer.mean.shape == (3,)
    assert state.memory.shape == (4, 2 * (1 + 3))
    widths = {
        x.shape for _, x in named_leaves((state.train.actor_params, state.train.critic_params))
    }
    if own["algorithm"] == "sac":  # 2 + 2 (1 + 2), and 3 + 2 (1 + 3) with the action
        assert {(8, 8), (2, 12, 8)} <= widths


def test_a_resumed_run_ends_as_the_uninterrupted_one(run, tmp_path):
    own, result = run
    own = {**own, "logdir": str(tmp_path)}
    train.train(make_config(**{**own, "iterations": 64}))
    resumed = train.train(make_config(**own)).state
    for (name, x), (_, y) in zip(named_leaves(resumed), named_leaves(result.state), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
    assert np.abs(resumed.memory).max() > 0


def test_another_history_is_another_run(run):
    own, _ = run
    with pytest.raises(UsageError, match="history"):
        train.train(make_config(**{**own, "history": 2}))


def by_hand(observations, actions, middle=0.0):
    """The flat input that the documentation describes, of an episode's start."""
    seen = [*observations[-1]]
    for back in (1, 2):
        there = len(actions) >= back
        seen += [*actions[-back]] if there else [middle] * len(actions[0] if actions else [0])
        seen += [*observations[max(len(observations) - 1 - back, 0)]]
    return np.float32(seen)


def test_evaluation_and_predict_are_the_actor_fed_by_hand(run):
    own, result = run
    policy = mjx_sac.load_policy(own["logdir"])
    assert (policy.observation_size, policy.input_size) == (2, 8)
    played = evaluate_policy(policy, episodes=4, seed=3)
    networks, stats = result.experiment.networks, result.state.normalizer
    normalize = result.experiment.config.normalize_observations
    env = result.experiment.episodes.env
    key = jax.random.split(jax.random.split(jax.random.PRNGKey(3), 1)[0])[0]
    total = []
    for one in jax.random.split(key, 4):
        state, sum_, observations, scaled, actions, memory = env.reset(one), 0.0, [], [], [], None
        for _ in range(5):
            raw = np.asarray(state.observation)
            observations.append(raw[:2])
            if normalize:
                raw = np.clip((raw - stats.mean) / np.sqrt(stats.var), -10, 10)
            scaled.append(raw)
            seen = by_hand(scaled, actions)
            action = networks.actor.apply(result.state.train.actor, seen[None]).mode()[0]
            outside, memory = policy.predict(observations[-1], memory, memory is None)
            np.testing.assert_allclose(outside, action, atol=1e-5)
            flat = by_hand(observations, actions)
            np.testing.assert_allclose(policy.apply(flat), action, atol=1e-5)
            actions.append(np.asarray(action))
            state, step = env.step(state, action)
            sum_ += float(step.reward)
        total.append(sum_)
    np.testing.assert_allclose(sorted(played["return"]), sorted(total), rtol=1e-4)


def test_exported_policies_take_the_flat_input(run, tmp_path):
    own, _ = run
    policy = mjx_sac.load_policy(own["logdir"])
    flat = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    for form in ("npz", "stablehlo", "onnx"):
        assert mjx_sac.export_policy(policy, tmp_path / form, form) < 1e-5
    act = numpy_policy.load(tmp_path / "npz")
    np.testing.assert_allclose(act(flat), policy.apply(flat), atol=1e-5)
    names = ["observation[t]", "action[t-1]", "observation[t-1]", "action[t-2]", "observation[t-2]"]
    sizes = [2, 1, 2, 1, 2]
    assert act.inputs == [f"{name} {size}" for name, size in zip(names, sizes, strict=True)]
    beside = json.loads((tmp_path / "stablehlo.json").read_text())
    onnx = pytest.importorskip("onnx")
    known = {x.key: json.loads(x.value) for x in onnx.load(tmp_path / "onnx").metadata_props}
    for description in (beside, known):
        assert description["inputs"] == [list(pair) for pair in zip(names, sizes, strict=True)]
        assert "copies of the first observation" in description["before_an_episode"]


def test_the_command_says_how_to_feed_it(run, tmp_path, capsys):
    own, _ = run
    code, said, _ = cli(capsys, "export", own["logdir"], "--out", tmp_path / "policy.npz")
    assert code == 0
    assert "observation[t] (2), action[t-1] (1), observation[t-1] (2)" in said


@pytest.fixture(scope="module")
def walking():
    """A policy of actions from -2 to 4, whose middle is 1."""
    return make_policy(GymnasiumEnvironment("walk", Walk), history=3)


def test_actions_in_the_history_have_the_environments_units(walking, tmp_path):
    """The recipe of `numpy_policy`, and `predict`, are fed what the environment was."""
    mjx_sac.export_policy(walking, tmp_path / "policy.npz", "npz")
    act = numpy_policy.load(tmp_path / "policy.npz")
    env, low, high = Walk(), -2, 4
    observation, memory, state, actions, observations = env.reset()[0], None, None, [], []
    for step in range(5):
        if step == 0:
            memory = np.tile(np.concatenate([[1.0], observation]), 2)
        seen = np.concatenate([observation, memory])
        observations.append(observation)
        np.testing.assert_allclose(seen, by_hand(observations, actions, middle=1.0), rtol=1e-6)
        action = act(seen)
        memory = np.concatenate([action, seen])[: memory.size]
        outside, state = walking.predict(observation, state, step == 0)
        np.testing.assert_allclose(outside, action, atol=1e-5)
        inner = seen.astype(np.float32)
        inner[[2, 5]] = (inner[[2, 5]] - (low + high) / 2) / ((high - low) / 2)
        stats = walking.statistics
        inner = np.clip((inner - stats.mean) / np.sqrt(stats.var), -10, 10)
        mode = walking.networks.actor.apply(walking.actor_params, inner).mode()
        np.testing.assert_allclose(action, 1 + 3 * mode, atol=1e-5)
        actions.append(action)
        observation = env.step(action)[0]
    assert np.ptp(actions) > 1e-3


def test_a_batch_begins_episodes_where_it_is_told_to(walking):
    observations = np.random.default_rng(1).normal(size=(3, 4, 2))
    _, state = walking.predict(observations[0], None, True)
    _, state = walking.predict(observations[1], state)
    action, after = walking.predict(observations[2], state, np.array([False, True, False, False]))
    fresh, begun = walking.predict(observations[2][1], None, np.array([True]))
    np.testing.assert_allclose(action[1], fresh, atol=1e-6)
    np.testing.assert_allclose(after[1], begun, atol=1e-6)
    for i in (0, 2, 3):
        own, memory = None, None
        for seen in observations[:, i]:
            own, memory = walking.act(seen, memory)
        np.testing.assert_allclose(action[i], own, atol=1e-5)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((None,), r"state: none: this policy sees the last 3 observations: .*episode_start=True"),
        ((None, [True, False, True, True]), "state: none"),
        ((np.zeros((4, 5)),), r"state: shape \(4, 5\), not \(4, 6\)"),
        ((None, [True, True]), r"episode_start: shape \(2,\): it has one, or \(4,\)"),
    ],
)
def test_what_cannot_be_acted_on_is_one_line(walking, args, message):
    with pytest.raises(ObservationError, match=message) as error:
        walking.predict(np.zeros((4, 2)), *args)
    assert "\n" not in str(error.value)


def test_environments_on_the_host_are_evaluated_with_what_predict_does(walking):
    made = []

    def make():
        made.append(Walk(ends_at=4))
        return made[-1]

    envs.register("walk", make)
    policy = make_policy(GymnasiumEnvironment("walk", Walk), history=3, env="walk")
    evaluate_policy(policy, episodes=2)
    played = [env for env in made if env.total == 4]
    assert len(played) == 2
    for env in played:
        memory = None
        for count, action in enumerate(env.actions):
            seen = np.float32([env.episode, count])
            expected, memory = policy.predict(seen, memory, count == 0)
            np.testing.assert_allclose(action, expected, atol=1e-4)
