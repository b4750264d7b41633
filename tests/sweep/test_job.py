"""One program of a sweep: its score, and what ends it."""

import math

import pytest
from helpers.runs import make_config

from mjx_sac.config import NonFiniteError, TrainingError, UsageError
from mjx_sac.losses import Losses, actor_loss
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.sweep import job
from mjx_sac.sweep.job import Job
from mjx_sac.training.host import train


def test_the_score_is_the_mean_of_the_last_quarter():
    curve = {75: 100.0, 80: 1.0, 100: 3.0}
    assert job.score(curve, 100, 100) == 2.0
    assert math.isnan(job.score(curve, 80, 100)), "it became non-finite"
    assert job.score({50: 7.0}, 100, 100) == 7.0
    assert math.isnan(job.score({}, 100, 100))


def test_a_metric_that_is_not_there_gets_the_nearest(tmp_path):
    config = make_config(logdir=str(tmp_path), num_seeds=2)
    for name in config.agent_names():
        (tmp_path / name).mkdir()
        writer = EventWriter(tmp_path / name, 0, pytest.fail)
        writer.log(128, {"eval/mean_reward": 5.0})
        writer.close()
    assert job.measure(config, "eval/mean_reward") == [5.0, 5.0]
    with pytest.raises(UsageError, match="did you mean eval/mean_reward"):
        job.measure(config, "eval/mean_rewrad")


def test_metrics_of_ones_own_losses_are_known():
    def actor(params, state, batch, key, *, networks, config):
        loss, _ = actor_loss(params, state, batch, key, networks=networks, config=config)
        return loss, {"mine": loss, "table": batch.reward}

    def fails(*_, **__):
        raise ZeroDivisionError

    config = make_config()
    for metric in ("mine", "table_std", "train/critic_loss"):
        job.check_metric(config, metric, Losses(actor=actor))
    with pytest.raises(UsageError, match="did you mean table_std"):
        job.check_metric(config, "table_st", Losses(actor=actor))
    job.check_metric(config, "what the run will say", Losses(actor=fails))


def test_only_non_finite_numbers_end_a_setting(monkeypatch, tmp_path):
    """A full disk, say, ends the sweep, and the same command resumes it."""

    def fail(error):
        def fails(config, **_):
            raise error

        monkeypatch.setattr(train, "train", fails)
        return job.run(Job("all", (0,), make_config(logdir=str(tmp_path))), "eval/mean_reward")

    assert fail(NonFiniteError("nan")).error == "nan"
    with pytest.raises(TrainingError, match="disk"):
        fail(TrainingError("disk"))
