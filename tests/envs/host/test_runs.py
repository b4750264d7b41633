"""Runs on Gymnasium environments: what they learn from, how they resume, and how they fail."""

from functools import partial

import jax
import numpy as np
import pytest
from helpers.gymnasium_envs import boom, hang, walk
from helpers.runs import make_config, make_experiment

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.runs.directory import steps
from mjx_sac.training.compiled import epoch
from mjx_sac.training.host import train

FAULTS = {
    "raises": (boom, "environment 0, at its step 60, raised ZeroDivisionError: boom"),
    "hangs": (hang, "environment 0 gave no answer within env_timeout = 3 seconds (vector step 59)"),
    "shape": (lambda o, r: (o[:1], r), "at its step 60, returned 1 numbers"),
    "type": (lambda o, r: ("left", r), "at its step 60, returned an observation that does not fit"),
    "reward": (lambda o, r: (o, None), "environment 0, at its step 60,"),
}
"""What an environment does wrong, and a phrase of the error."""

RUN = {
    "env": "walk",
    "num_envs": 2,
    "iterations": 128,
    "episode_length": 5,
    "batch_size": 8,
    "buffer_size": 64,
}


@pytest.mark.smoke
def test_time_limits_bootstrap_from_true_observations(tmp_path):
    result = train.train(make_config(**RUN, logdir=str(tmp_path)), env=walk(cut_at=5))
    replay = jax.tree.map(np.asarray, result.state.replay)
    assert not replay.terminated.any()
    assert result.metrics["rollout/ep_len_mean"] == 5
    assert result.metrics["rollout/ep_rew_mean"] == 0 + 1 + 2 + 3 + 4
    assert result.metrics["eval/mean_reward"] == 10
    assert result.metrics["eval/mean_ep_length"] == 5
    assert result.metrics["train/n_updates"] == 96
    slots, rows = replay.row.shape[0], replay.observation.shape[0]
    for i in range(2):
        for back in range(replay.size[i]):
            slot = (replay.next[i] - 1 - back) % slots
            row = replay.row[slot, i]
            episode, count = replay.observation[row, i]
            assert replay.observation[(row + 1) % rows, i].tolist() == [episode, count + 1]
            assert replay.reward[slot, i] == count


def test_resuming_starts_new_episodes_and_loses_nothing_else(tmp_path, capsys):
    first = train.train(make_config(**{**RUN, "iterations": 64}, logdir=str(tmp_path)), env=walk())
    assert not np.asarray(first.state.episodes.ended).all()
    second = train.train(make_config(**{**RUN, "iterations": 96}, logdir=str(tmp_path)), env=walk())
    assert "the simulator starts new episodes" in capsys.readouterr().out
    assert second.metrics["train/n_updates"] == 64
    np.testing.assert_array_equal(second.state.normalizer.count, 96)
    replay = jax.tree.map(np.asarray, second.state.replay)
    for i in range(2):  # the resumed process' first transition, of 16, begins an episode
        row = replay.row[(replay.next[i] - 16) % replay.row.shape[0], i]
        assert replay.observation[row, i].tolist() == [0, 0]


def test_two_runs_with_one_seed_are_equal(tmp_path):
    config = {"env": "Pendulum-v1", "num_envs": 2, "iterations": 64, "warm_up_steps": 32}
    one, two = (train.train(make_config(**config, logdir=str(tmp_path / name))) for name in "ab")
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(two.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_environment_ends_the_run_in_one_line(tmp_path, fault, capfd):
    function, phrase = FAULTS[fault]
    config = make_config(**RUN, logdir=str(tmp_path), env_timeout=3.0, episodes_per_eval=0)
    with pytest.raises(TrainingError) as error:
        train.train(config, env=walk(fault=function))
    assert phrase in str(error.value)
    assert "\n" not in str(error.value)
    assert steps(tmp_path) == [32, 64, 96], "checkpoints are kept"
    assert "Traceback" not in capfd.readouterr().err


def test_an_environment_with_a_nan_is_reset_and_counted(tmp_path):
    config = make_config(**RUN, logdir=str(tmp_path), episodes_per_eval=0)
    result = train.train(config, env=walk(fault=lambda o, r: (o, float("nan"))))
    assert result.metrics["health/nonfinite_steps"] == 2, "one in each, in the last epoch"
    assert np.isfinite(result.state.replay.reward).all()


def test_no_warm_up_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"warm_up_steps = 0: .* raise it to 2"):
        train.train(make_config(**RUN, warm_up_steps=0, logdir=str(tmp_path)), env=walk())


def test_held_actions_count_as_the_steps_they_are(tmp_path):
    """Episodes of 5 steps in repeats of 3: two transitions each, as on the device."""
    config = make_config(**RUN, action_repeat=3, logdir=str(tmp_path))
    result = train.train(config, env=walk(action_repeat=3))
    assert result.metrics["rollout/ep_len_mean"] == 5
    assert result.metrics["eval/mean_ep_length"] == 5
    assert result.metrics["eval/mean_reward"] == result.metrics["rollout/ep_rew_mean"] == 10
    assert result.metrics["rollout/episodes"] == 32 / 2


def test_learning_waits_for_something_to_learn_from():
    """One vector step of warm-up, three non-finite: the fifth first finds a transition."""
    env = walk(fault=lambda o, r: (o, np.nan), at=(1, 2, 3))
    experiment = make_experiment(env=env, num_envs=2, warm_up_steps=2, log_interval=20)
    state = epoch.init(experiment, jax.random.PRNGKey(0))
    state, metrics = jax.jit(partial(epoch.epoch, experiment))(state)
    assert (int(metrics["health/nonfinite_steps"]), int(metrics["replay/size"])) == (6, 14)
    assert int(metrics["trained_vector_steps"]) == 10 - 4
    assert int(state.train.actor_optimizer[0].count) == 6 * 2
