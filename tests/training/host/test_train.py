"""Whole runs: files, curves, going on, and interruption of a real process."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter
from helpers.runs import SMALL, make_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.cli import app
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.losses import Losses, actor_loss, critic_loss
from mjx_sac.runs.directory import steps
from mjx_sac.runs.resolve import resolve
from mjx_sac.training.host import train


def scalars(directory) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(directory)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One uninterrupted run of four epochs."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    return directory, train.train(make_config(logdir=str(directory)))


def test_curves_have_the_tags_people_know_over_iterations(finished):
    directory, result = finished
    curves = scalars(directory)
    always = {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "train/n_updates",
        "replay/size",
        "health/nonfinite_steps",
    }
    for tag in always:
        assert list(curves[tag]) == [32, 64, 96, 128], tag
    trained = {
        "train/actor_loss",
        "train/critic_loss",
        "train/ent_coef",
        "train/ent_coef_loss",
        "eval/mean_reward",
    }
    trained |= {"eval/mean_ep_length", "eval/std_reward", "eval/min_reward", "eval/max_reward"}
    trained |= {
        f"diagnostics/{q}_{s}"
        for q in ("q", "target", "log_prob", "action", "reward")
        for s in ("mean", "std", "min", "max")
    }
    for tag in trained:
        assert list(curves[tag]) == [64, 96, 128], f"{tag}: nothing is learned in the warm-up epoch"
    assert list(curves["train/n_updates"].values()) == [0, 32, 64, 96]
    assert list(curves["eval/mean_reward"].values()) == [0 + 1 + 2 + 3 + 4] * 3
    assert result.metrics["replay/size"] == 64


@pytest.mark.parametrize(
    ("warm_up", "phases"),
    [(32, ["warm-up", "training"]), (8, ["warm-up, then training", "training"])],
)
def test_each_epoch_says_what_it_does(tmp_path, capsys, warm_up, phases):
    train.train(make_config(logdir=str(tmp_path), iterations=64, warm_up_steps=warm_up))
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [
        line for line in lines if line in ("warm-up", "warm-up, then training", "training")
    ] == phases


def test_kwargs_json_holds_configuration_versions_and_commit(finished):
    directory, _ = finished
    stored = json.loads((directory / "kwargs.json").read_text())
    assert stored["config"] == json.loads(
        json.dumps(make_config(logdir=str(directory)).model_dump())
    )
    assert stored["versions"]["jax"] == jax.__version__
    assert "git_commit" in stored


def test_hyperparameters_are_in_the_hparams_tab(finished):
    directory, _ = finished
    plugin = (
        EventAccumulator(str(directory)).Reload().SummaryMetadata("_hparams_/session_start_info")
    )
    assert b"target_delay" in plugin.plugin_data.content


def test_a_run_that_goes_on_ends_where_the_uninterrupted_one_does(finished, tmp_path):
    directory, whole = finished
    first = train.train(make_config(logdir=str(tmp_path), iterations=64))
    second = train.train(make_config(logdir=str(tmp_path)))
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(second.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.state.key, second.state.key)
    ours, theirs = scalars(tmp_path), scalars(directory)
    for tag in theirs:
        if not tag.startswith(("time/", "checkpoint/")):
            assert ours[tag] == theirs[tag], tag


def test_a_run_goes_on_after_interruption_between_checkpoints(tmp_path, finished):
    """The epoch after the last checkpoint is lost, repeated, and its points in the curves are not doubled."""

    def stop(iterations, metrics, state):
        if iterations == 96:
            raise KeyboardInterrupt

    config = make_config(logdir=str(tmp_path), checkpoint_interval=64)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, callbacks=[stop])
    assert steps(tmp_path)[-1] == 64
    result = train.train(config)
    for a, b in zip(jax.tree.leaves(finished[1].state), jax.tree.leaves(result.state), strict=True):
        np.testing.assert_array_equal(a, b)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("time/fps")
    assert [event.step for event in events] == [32, 64, 96, 128]


def test_a_finished_run_says_so_and_starts_nothing(finished, capsys, monkeypatch):
    directory, _ = finished
    monkeypatch.setattr(train, "train", None)
    with pytest.raises(SystemExit) as stop:
        app.main(["train", "--env", "counter", "--logdir", str(directory)])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "is finished: 128 of 128" in out
    assert "--overwrite" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hidden_sizes", "16"], ["hidden_sizes (8,)", "now (16,)"]),
        (["--num_envs", "8", "--seed", "3"], ["num_envs 4 (now 8)", "seed 0 (now 3)"]),
        (["--env", "ant"], ["env 'counter' (now 'ant')"]),
    ],
)
def test_another_run_in_the_directory_is_refused_field_by_field(finished, capsys, flags, words):
    directory, _ = finished
    with pytest.raises(SystemExit) as stop:
        app.main(
            ["train", "--env", "counter", "--logdir", str(directory), "--iterations", "256", *flags]
        )
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words), err


def test_an_environment_of_other_shapes_is_refused_array_by_array(finished):
    directory, _ = finished

    class Wider(Counter):
        action_size = 3

    with pytest.raises(
        UsageError, match=r"train\.actor_params.* is float32\[2\], this run's float32\[6\]"
    ):
        train.train(make_config(logdir=str(directory), iterations=256), env=Wider())


def test_flags_left_out_keep_what_the_run_was_started_with(finished):
    directory, _ = finished
    config = resolve({"env": "counter", "logdir": str(directory), "iterations": 256})
    assert (config.hidden_sizes, config.num_envs, config.iterations) == ((8,), 4, 256)


def test_overwrite_starts_anew_and_leaves_other_files_alone(tmp_path):
    train.train(make_config(logdir=str(tmp_path), iterations=64))
    (tmp_path / "notes.txt").write_text("mine")
    train.train(make_config(logdir=str(tmp_path), iterations=96, tau=0.1), overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert list(scalars(tmp_path)["time/fps"]) == [32, 64, 96]
    assert json.loads((tmp_path / "kwargs.json").read_text())["config"]["tau"] == 0.1


def test_max_to_keep_and_checkpoint_interval(tmp_path):
    train.train(
        make_config(logdir=str(tmp_path), iterations=256, checkpoint_interval=64, max_to_keep=2)
    )
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [192, 256]


def test_a_callback_sees_every_epoch_and_can_end_the_run(tmp_path):
    seen = []

    def callback(iterations, metrics, state):
        seen.append((iterations, metrics["train/n_updates"]))
        return iterations < 64

    train.train(make_config(logdir=str(tmp_path)), callbacks=[callback])
    assert seen == [(32, 0), (64, 32)]
    assert steps(tmp_path)[-1] == 64


def test_a_loss_of_ones_own_with_a_metric_of_its_own_is_logged(tmp_path):
    def mine(params, state, batch, key, *, networks, config):
        loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
        return 0.0 * loss, {**metrics, "train/mine": loss * 0 + 7.0}

    result = train.train(
        make_config(logdir=str(tmp_path), iterations=64), losses=Losses(critic=mine)
    )
    assert scalars(tmp_path)["train/mine"] == {64: 7.0}
    critics = result.state.train.critic_params
    targets = result.state.train.target_critic_params
    for a, b in zip(jax.tree.leaves(critics), jax.tree.leaves(targets), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg="a loss of zero moves no critic")


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint_before(tmp_path):
    def breaks(params, state, batch, key, *, networks, config):
        loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
        return loss / 0.0, {**metrics, "train/critic_loss": loss / 0.0}

    with pytest.raises(TrainingError, match=r"train/\w+ is (inf|nan) after 64 iterations"):
        train.train(make_config(logdir=str(tmp_path)), losses=Losses(critic=breaks))
    assert steps(tmp_path)[-1] == 32


def test_parameters_that_are_not_finite_are_never_saved_though_the_loss_was(tmp_path):
    """The square root of zero has no slope: one gradient step leaves NaN parameters and a loss that looks well."""

    def breaks(params, state, batch, key, *, networks, config):
        loss, metrics = actor_loss(params, state, batch, key, networks=networks, config=config)
        return loss + sum(jnp.sqrt(jnp.sum(0.0 * x)) for x in jax.tree.leaves(params)), metrics

    config = make_config(
        logdir=str(tmp_path), updates_per_iteration=0.25, log_interval=4, warm_up_steps=32
    )
    with pytest.raises(TrainingError, match="train/parameters is nan after 36 iterations"):
        train.train(config, losses=Losses(actor=breaks))
    assert steps(tmp_path)[-1] == 32


def test_a_directory_that_cannot_be_made_is_named():
    with pytest.raises(UsageError, match=r"logdir = '/proc/nothing'.* choose another --logdir"):
        train.train(make_config(logdir="/proc/nothing"))


def test_what_changed_is_told_and_takes_effect(tmp_path, capsys):
    train.train(make_config(logdir=str(tmp_path), iterations=64, target_delay=3))
    result = train.train(make_config(logdir=str(tmp_path), iterations=96, target_delay=2))
    assert "iterations 64 -> 96, target_delay 3 -> 2" in capsys.readouterr().out
    assert int(result.state.train.since_target_update) < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_process_interrupted_after_a_checkpoint_goes_on(tmp_path, number):
    """Ctrl-C in the middle; the same command again; exit code 130, then 0, and one unbroken curve."""
    flags = [
        f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
        for name, v in SMALL.items()
        if name != "env"
    ]
    command = [
        sys.executable,
        "-m",
        "mjx_sac",
        "train",
        "--env",
        "helpers.envs:Counter",
        "--logdir",
        str(tmp_path / "run"),
        *flags,
    ]
    here = pathlib.Path(__file__).parents[2]
    process = subprocess.Popen(
        [*command, "--iterations=100_000_000"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while max(steps(tmp_path / "run"), default=0) < 96:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (
        err.splitlines()[-1]
        == "mjx-sac: interrupted; the same command goes on from the newest checkpoint"
    )

    reached = steps(tmp_path / "run")[-1]
    assert reached % 32 == 0
    again = subprocess.run(
        [*command, f"--iterations={reached + 64}"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert again.returncode == 0, again.stderr
    assert f"going on from {tmp_path / 'run'} at {reached:,} iterations" in again.stdout
    steps = list(scalars(tmp_path / "run")["time/fps"])
    assert steps == list(range(32, reached + 65, 32))
