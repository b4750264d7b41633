"""What an epoch measured: what is left out, which agents are lost, and where scalars go."""

import contextlib
import math

import numpy as np
import pytest
from helpers.runs import make_config

from mjx_sac.config import NonFiniteError
from mjx_sac.runs import event_files, tracking
from mjx_sac.runs.resolve import Run
from mjx_sac.training.host import monitor
from mjx_sac.training.host.monitor import Monitor

RAW = {
    "losses": [({"train/critic_loss": 1.0, "penalty": 2.0}, 2)], "rollout/episodes": 3,
    "rollout/ep_rew_mean": 4.0, "rollout/ep_len_mean": 5.0, "replay/size": 6,
    "health/nonfinite_parameters": 0, "trained_vector_steps": 8,
}  # fmt: skip
SCALARS = monitor.scalars(RAW, make_config(), updates=0, seconds=1.0)


def make_monitor(directory, warnings, **config):
    config = make_config(logdir=str(directory), **config)
    return Monitor(Run(config, directory), warnings.append)


def test_updates_are_counted_and_timed():
    # 32 iterations in epochs of 8 vector steps of 4 environments; the first epoch warms up.
    found = monitor.scalars(RAW, make_config(), updates=32, seconds=0.5)
    assert found["train/n_updates"] == 64
    assert found["time/iterations_per_second"] == 64
    assert found["time/updates_per_second"] == 64
    assert (found["train/critic_loss"], found["penalty"]) == (1.0, 2.0)
    assert "trained_vector_steps" not in found


def test_what_was_not_measured_is_left_out():
    """Whatever a loss calls its metrics: in an epoch without gradient steps they are NaN."""
    nothing = dict.fromkeys(RAW["losses"][0][0], math.nan)
    raw = {**RAW, "losses": [(nothing, 0)], "trained_vector_steps": 0, "rollout/episodes": 0}
    found = monitor.scalars(raw, make_config(), updates=0, seconds=1.0)
    assert set(found) == {
        "rollout/episodes", "replay/size", "health/nonfinite_parameters", "train/n_updates",
        "time/iterations_per_second", "time/updates_per_second",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"train/critic_loss": math.inf}, "train/critic_loss is inf after 64 iterations"),
        ({"health/nonfinite_parameters": 1}, "train/parameters is nan"),
        ({"replay/size": 0}, "no environment step was finite in 64 iterations"),
    ],
)
def test_why_an_agent_cannot_continue(changes, words):
    found = monitor.problem({**SCALARS, **changes}, 64)
    assert found is None if words is None else words in found


def test_a_single_agent_logs_into_the_runs_directory(tmp_path):
    single = make_monitor(tmp_path, [])
    assert single.per_agent(RAW) == [RAW]
    with single:
        single.log(32, [{"replay/size": 6.0}])
    assert event_files.read(tmp_path)["replay/size"] == {32: 6.0}
    assert single.together([{"a": 1.0}]) == {"a": 1.0}


def test_lost_agents_are_named_once_and_log_no_more(tmp_path):
    warnings = []
    several = make_monitor(tmp_path, warnings, num_seeds=2)
    good, bad = dict(SCALARS), {**SCALARS, "train/critic_loss": math.nan}
    with several:
        for iterations in (32, 64):
            several.check([good, bad], iterations)
            several.log(iterations, [good, bad])
    assert len(warnings) == 1
    assert "seed_1 is lost, the others continue: train/critic_loss is nan" in warnings[0]
    assert list(event_files.read(tmp_path / "seed_0")["replay/size"]) == [32, 64]
    assert "replay/size" not in event_files.read(tmp_path / "seed_1")
    together = several.together([good, bad])
    np.testing.assert_array_equal(together["replay/size"], [6, math.nan])
    with pytest.raises(NonFiniteError, match="all 2 agents are lost; the last one: "):
        several.check([bad, bad], 96)


class Recording:
    """A logger, and a tracker of one agent after another; both write down what they are told."""

    def __init__(self):
        self.told = []

    def run(self, agent, facts):
        self.told.append((agent, facts))
        return self

    def hyperparameters(self, config):
        self.told.append(config["seed"])

    def log(self, iterations, metrics):
        self.told.append(iterations)

    def close(self, how):
        self.told.append(how)


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "finished"), (NonFiniteError, "failed"), (KeyboardInterrupt, "killed")],
)
def test_trackers_are_told_how_each_agent_ended(tmp_path, monkeypatch, error, status):
    tracker = Recording()
    monkeypatch.setattr(tracking, "Tracker", lambda *_: tracker)
    monkeypatch.setattr(tracking, "close", lambda trackers: trackers[0].told.append("all"))
    config = make_config(logdir=str(tmp_path), num_seeds=2, track="trackio")
    several = Monitor(Run(config, tmp_path), lambda _: None, facts={"command": "train"})
    bad = {**SCALARS, "train/critic_loss": math.nan}
    with pytest.raises(error) if error else contextlib.nullcontext(), several:
        several.check([SCALARS, bad], 32)
        several.log(32, [SCALARS, bad])
        if error:
            raise error
    facts = {"command": "train"}
    begun = [("seed_0", facts), ("seed_1", facts), 0, 1]
    assert tracker.told == [*begun, 32, status, "failed", "all"]


def test_only_the_process_that_writes_tracks(tmp_path):
    config = make_config(logdir=str(tmp_path), track="trackio")
    with Monitor(Run(config, tmp_path), pytest.fail, writes=False) as monitor:
        monitor.log(32, [SCALARS])
    assert [*tmp_path.iterdir()] == []
