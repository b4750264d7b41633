"""Evaluation between epochs: when, what it costs, what is remembered of it."""

import math
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.runs import make_config

from mjx_sac.config.due import evaluates
from mjx_sac.runs.best import Best
from mjx_sac.runs.resolve import Run
from mjx_sac.training.host.evaluation import Evaluation
from mjx_sac.training.host.monitor import Monitor

NAN = math.nan


class Programs:
    """Evaluation as `returns` say, taking `seconds`."""

    def __init__(self, returns, seconds=0.0):
        self._returns, self._seconds = iter(returns), seconds

    def prepare_evaluation(self):
        future = Future()
        future.set_result(None)
        return future

    def evaluate(self, policy, epoch, critics):
        time.sleep(self._seconds)
        return {"eval/mean_reward": np.array(next(self._returns))}


@pytest.fixture
def make(tmp_path):
    """Make an evaluation whose console is a list of lines."""

    def make(returns=(), seconds=0.0, manifest=None, **config):
        run = Run(make_config(**config, logdir=str(tmp_path)), tmp_path, manifest=manifest)
        lines = []
        console = SimpleNamespace(phase=lambda _: None, message=lines.append)
        best = Best(run, {}, pytest.fail)
        monitor = Monitor(run, lines.append, writes=False)
        return Evaluation(run, Programs(returns, seconds), monitor, console, best), lines

    return make


def evaluate(evaluation, now, n_updates=1.0, agents=1):
    """Return the agents' scalars after the epoch of 32 iterations that ends at `now`."""
    state = SimpleNamespace(
        key=SimpleNamespace(devices=lambda: {0}),
        train=SimpleNamespace(actor=np.zeros((agents, 2))),
        normalizer=np.zeros((agents, 2)),
    )
    scalars = [{"train/n_updates": n_updates} for _ in range(agents)]
    evaluation.evaluate(state, scalars, now - 32, now)
    evaluation.note(now, evaluation.monitor.together(scalars))
    return scalars


@pytest.mark.parametrize(
    ("interval", "iterations", "due"),
    [
        (96, 256, [96, 192, 256]),
        (1, 96, [32, 64, 96]),
        (1000, 96, [96]),
        (None, 96, [32, 64, 96]),  # a twentieth is less than an epoch
        (None, 1280, [*range(64, 1281, 64)]),  # a twentieth is 64
    ],
)
def test_when_it_is_due(make, interval, iterations, due):
    """Alike in a run that resumes anywhere: nothing is remembered."""
    config = make_config(iterations=iterations, eval_interval=interval)
    epochs = range(32, iterations + 1, 32)
    assert [now for now in epochs if evaluates(config, now - 32, now)] == due


def test_none_during_warm_up(make):
    evaluation, _ = make([1.0])
    assert "eval/mean_reward" not in evaluate(evaluation, 32, n_updates=0.0)[0]
    assert evaluate(evaluation, 64)[0]["eval/mean_reward"] == 1.0


def test_returns_are_those_of_the_last_evaluation(make):
    evaluation, _ = make([7.0], eval_interval=64)
    evaluation.note(32, {"rollout/ep_rew_mean": 3.0})
    assert evaluation.progress() == {"returns": [3.0], "evaluated": None}
    evaluate(evaluation, 64)
    evaluation.note(96, {"rollout/ep_rew_mean": 4.0})
    assert evaluation.progress() == {"returns": [7.0], "evaluated": 64}
    resumed, _ = make(manifest=evaluation.progress())
    assert resumed.progress() == {"returns": [7.0], "evaluated": 64}
    older, _ = make(manifest={"returns": [2.0]})  # nobody knows of what
    older.note(96, {"rollout/ep_rew_mean": 4.0})
    assert older.progress() == {"returns": [4.0], "evaluated": None}


def test_a_lost_agent_has_no_return_and_keeps_its_best(make):
    evaluation, _ = make([[1.0, 2.0], [3.0, 9.0]], num_seeds=2)
    evaluate(evaluation, 64, agents=2)
    evaluation.monitor.lost["seed_1"] = "NaN"
    evaluate(evaluation, 96, agents=2)
    assert evaluation.progress() == {"returns": [3.0, None], "evaluated": 96}
    best = evaluation.best
    assert (best.returns.tolist(), best.iterations.tolist()) == ([3.0, 2.0], [96, 64])


@pytest.mark.parametrize(
    ("returns", "reached"),
    [([5.0, 6.0], True), ([4.0, 6.0], False), ([NAN, 6.0], True), ([NAN, NAN], False)],
)
def test_stop_at_is_reached_by_all_that_are_finite(make, returns, reached):
    evaluation, _ = make([returns], stop_at=5.0, num_seeds=2)
    evaluate(evaluation, 64, agents=2)
    assert evaluation.reached(64) == reached
    assert not evaluation.reached(96), "it says so of the evaluation at 64"
    stored = Run(evaluation.run.config, evaluation.run.directory, 64, evaluation.progress())
    assert bool(stored.finished) == reached
    if stored.finished:
        assert "at 64 iterations its return has reached stop_at 5" in stored.finished


def test_its_share_of_the_time_is_logged_and_said_once(make):
    evaluation, lines = make([1.0] * 4, seconds=0.1)
    shares = [evaluate(evaluation, now)[0]["time/eval_share"] for now in (64, 96, 128)]
    assert all(0.1 < share <= 1 for share in shares)
    assert len(lines) == 1
    assert "--eval_interval" in lines[0]


def test_a_cheap_one_or_the_last_is_not_worth_a_line(make):
    evaluation, lines = make([1.0, 1.0])
    time.sleep(0.3)
    assert evaluate(evaluation, 64)[0]["time/eval_share"] < 0.1
    evaluate(evaluation, 128)  # right after; there is no other
    assert not lines
