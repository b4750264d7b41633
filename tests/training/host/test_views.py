"""Runs whose critics see more than the actor: trained, resumed, and used without what it lacks."""

import jax
import numpy as np
import pytest
from helpers.asymmetric import ALGORITHMS, trained
from helpers.envs import Asymmetric
from helpers.gymnasium_envs import Parts
from helpers.runs import make_config

import mjx_sac
from mjx_sac.config import UsageError
from mjx_sac.policy import numpy_policy
from mjx_sac.policy.evaluate import evaluate_policy
from mjx_sac.policy.policy import ObservationError
from mjx_sac.runs import array_store, directory
from mjx_sac.training.host import train
from mjx_sac.types import named_leaves


@pytest.fixture(scope="module", params=ALGORITHMS)
def run(request, tmp_path_factory):
    """A finished run, and what it ended with."""
    return trained(tmp_path_factory, request.param)


def test_the_actor_sees_two_numbers_and_the_critics_three(run):
    own, result = run
    state = result.state
    assert state.replay.observation.shape[-1] == 3  # x, steps, goal: `state` is a part of them
    widths = {
        x.shape for _, x in named_leaves((state.train.actor_params, state.train.critic_params))
    }
    if own["algorithm"] == "sac":
        assert {(2, 8), (2, 4, 8)} <= widths  # of two critics, each with an action too
    _, steps, goal = state.replay.observation[:, 0].T
    assert set(steps.tolist()) <= {0, 1, 2, 3, 4, 5}
    assert len(set(goal.tolist())) > 3
    assert state.normalizer.mean.shape == (3,)


def test_a_resumed_run_ends_as_the_uninterrupted_one(run, tmp_path):
    own, result = run
    own = {**own, "logdir": str(tmp_path)}
    train.train(make_config(**{**own, "iterations": 64}))
    resumed = train.train(make_config(**own)).state
    for (name, x), (_, y) in zip(named_leaves(resumed), named_leaves(result.state), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_a_policy_takes_what_the_actor_sees(run, tmp_path):
    own, result = run
    policy = mjx_sac.load_policy(own["logdir"])
    assert policy.observation_size == 2
    np.testing.assert_array_equal(policy.normalizer.mean, result.state.normalizer.mean[:2])
    flat = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    action, _ = policy.predict(flat)
    # As the environment returns it, with more than is needed, too.
    named = {"state": flat, "privileged_state": np.full((20, 3), np.nan)}
    np.testing.assert_array_equal(policy.predict(named)[0], action)
    with pytest.raises(ObservationError, match=r"shape \(2,\).*or the parts state"):
        policy.predict(np.zeros(3))
    for form in ("npz", "stablehlo", "onnx"):
        assert mjx_sac.export_policy(policy, tmp_path / form, form) < 1e-5
    np.testing.assert_allclose(numpy_policy.load(tmp_path / "npz")(flat), action, atol=1e-5)


def test_evaluation_of_a_stored_policy_is_that_of_training(run):
    own, result = run
    played = evaluate_policy(mjx_sac.load_policy(own["logdir"]), episodes=4, seed=3)
    networks, stats = result.experiment.networks, result.state.normalizer
    # By hand, on the vector that training has.
    env = result.experiment.episodes.env
    key = jax.random.split(jax.random.split(jax.random.PRNGKey(3), 1)[0])[0]
    total = []
    for one in jax.random.split(key, 4):
        state, sum_ = env.reset(one), 0.0
        for _ in range(5):
            seen = state.observation
            if result.experiment.config.normalize_observations:
                seen = np.clip((seen - stats.mean) / np.sqrt(stats.var), -10, 10)
            action = networks.actor.apply(result.state.train.actor, seen[None]).mode()[0]
            state, step = env.step(state, action)
            sum_ += float(step.reward)
        total.append(sum_)
    np.testing.assert_allclose(sorted(played["return"]), sorted(total), rtol=1e-4)


def test_a_run_with_other_views_is_not_resumed(run):
    own, _ = run
    with pytest.raises(UsageError, match="critic_observation"):
        train.train(make_config(**own, critic_observation="state"))


def test_parts_laid_out_otherwise_are_one_line(run, monkeypatch):
    own, _ = run

    class Upgraded(Asymmetric):
        """`state` is at the end of `privileged_state`."""

        def _seen(self, x, goal, steps):
            seen = super()._seen(x, goal, steps)
            return {**seen, "privileged_state": jax.numpy.hstack([goal, seen["state"]])}

    config = make_config(**{**own, "iterations": 256})
    with pytest.raises(UsageError, match=r"other parts of observations.*--logdir"):
        train.train(config, env=Upgraded())


def test_a_gymnasium_dict_names_them_too(tmp_path):
    own = {"actor_observation": "b.0", "env": "parts", "logdir": str(tmp_path)}
    result = train.train(make_config(**own, critic_observation="b"), env=Parts)
    assert result.state.replay.observation.shape[-1] == 5
    policy = mjx_sac.load_policy(tmp_path)
    action, _ = policy.predict({"b": (np.zeros((2, 2)), np.nan)})
    assert action.shape == (1,)
    path = directory.checkpoint_path(tmp_path, 128) / "policy"
    assert array_store.manifest(path)["spaces"]["observation"] == {"b": {"0": [2, 2]}}
