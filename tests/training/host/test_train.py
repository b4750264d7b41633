"""Whole runs: files, curves, resuming, and interruption of a real process."""

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
from helpers.cli import run
from helpers.envs import Counter
from helpers.runs import COUNTER, flags, make_config, scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac import load_policy
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.losses import Losses, actor_loss, critic_loss
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.resolve import resolve
from mjx_sac.training.host import train

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One uninterrupted run of four epochs."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    return directory, train.train(make_config(logdir=str(directory)))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.state, b.state)


def test_curves_have_the_tags_people_know(finished):
    directory, result = finished
    curves = scalars(directory)
    always = ("rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/n_updates")
    for tag in (*always, "replay/size", "health/nonfinite_steps"):
        assert list(curves[tag]) == [32, 64, 96, 128], tag
    trained = [f"train/{name}" for name in ("actor_loss", "critic_loss", "ent_coef")]
    trained += [f"eval/{statistic}_reward" for statistic in ("mean", "std", "min", "max")]
    for name in ("q", "target", "log_prob", "action", "reward"):
        trained += [f"diagnostics/{name}_{s}" for s in ("mean", "std", "min", "max")]
    for tag in (*trained, "train/ent_coef_loss", "eval/mean_ep_length"):
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
    known = ("warm-up", "warm-up, then training", "training")
    assert [line for line in lines if line in known] == phases


def test_kwargs_json_holds_configuration_and_versions(finished):
    directory, _ = finished
    stored = json.loads((directory / "kwargs.json").read_text())
    config = make_config(logdir=str(directory), schedule_iterations=128)
    assert stored["config"] == config.model_dump(mode="json")
    assert stored["versions"]["jax"] == jax.__version__
    assert "git_commit" in stored


def test_hyperparameters_are_in_the_hparams_tab(finished):
    directory, _ = finished
    events = EventAccumulator(str(directory)).Reload()
    plugin = events.SummaryMetadata("_hparams_/session_start_info")
    assert b"target_delay" in plugin.plugin_data.content


def test_a_resumed_run_ends_as_the_uninterrupted_one(finished, tmp_path):
    directory, whole = finished
    first = train.train(make_config(logdir=str(tmp_path), iterations=64))
    second = train.train(make_config(logdir=str(tmp_path)))
    same(whole, second)
    assert not np.array_equal(first.state.key, second.state.key)
    ours, theirs = scalars(tmp_path), scalars(directory)
    for tag in theirs:
        if not tag.startswith(("time/", "checkpoint/")):
            assert ours[tag] == theirs[tag], tag


def test_a_run_resumes_from_between_checkpoints(tmp_path, finished):
    """The epoch after the last checkpoint is repeated; its points in the curves are not doubled."""

    def stop(iterations, metrics, state):
        if iterations == 96:
            raise KeyboardInterrupt

    config = make_config(logdir=str(tmp_path), checkpoint_interval=64)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, callbacks=[stop])
    assert steps(tmp_path)[-1] == 64
    result = train.train(config)
    same(finished[1], result)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("time/fps")
    assert [event.step for event in events] == [32, 64, 96, 128]


def test_a_finished_run_says_so_and_starts_nothing(finished, capsys):
    directory, _ = finished
    before = sorted(directory.iterdir())
    code, out, _ = run(capsys, "train", "--env", "counter", "--logdir", directory)
    assert code == 0
    assert "is finished: 128 of 128" in out
    assert "--overwrite" in out
    assert sorted(directory.iterdir()) == before


def test_a_finished_run_is_returned_and_nothing_is_written(finished, capsys):
    directory, result = finished
    files = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != "lock"}
    again = train.train(make_config(logdir=str(directory)))
    same(result, again)
    assert not again.metrics
    assert "is finished: 128 of 128 iterations are done" in capsys.readouterr().out
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert {path.name for path in directory.iterdir()} <= {path.name for path in files} | {"lock"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--hidden_sizes", "16"], ["hidden_sizes (8,)", "now (16,)"]),
        (["--num_envs", "8", "--seed", "3"], ["num_envs 4 (now 8)", "seed 0 (now 3)"]),
        (["--env", "ant"], ["env 'counter' (now 'ant')"]),
    ],
)
def test_another_run_is_refused_field_by_field(finished, capsys, changes, words):
    directory, _ = finished
    command = ("train", "--env", "counter", "--logdir", directory, "--iterations", 256)
    code, _, err = run(capsys, *command, *changes)
    assert code == 2
    assert all(word in err for word in words), err


def test_a_run_keeps_its_environments_configuration(tmp_path):
    """And another is refused: a newer version of the environment may have other defaults."""

    class Configured(Counter):
        env_config = {"dt": 0.02, "reward.alive": 1.0}

    config = make_config(logdir=str(tmp_path), iterations=64, episodes_per_eval=0)
    train.train(config, env=Counter)  # as an older run, which says nothing
    more = config.model_copy(update={"iterations": 96})
    train.train(more, env=Configured)
    stored = json.loads((tmp_path / "kwargs.json").read_text())
    assert stored["env_config"] == Configured.env_config
    assert all("env_config" not in part for part in stored["history"])
    Configured.env_config = {"dt": 0.02, "reward.alive": 2.0, "reward.new": 1.0}
    with pytest.raises(UsageError) as error:
        train.train(config.model_copy(update={"iterations": 128}), env=Configured)
    words = f"{tmp_path} holds a run with reward.alive 1.0 (now 2.0): install the version"
    assert words in str(error.value)
    assert json.loads((tmp_path / "kwargs.json").read_text()) == stored


def test_other_shapes_are_refused_array_by_array(finished):
    directory, _ = finished

    class Wider(Counter):
        action_size = 3

    message = r"train\.actor_params.* is float32\[2\], this run's float32\[6\]"
    with pytest.raises(UsageError, match=message):
        train.train(make_config(logdir=str(directory), iterations=256), env=Wider())


def test_flags_left_out_keep_what_the_run_was_started_with(finished):
    directory, _ = finished
    config = resolve({"env": "counter", "logdir": str(directory), "iterations": 256})
    assert (config.hidden_sizes, config.num_envs, config.iterations) == ((8,), 4, 256)


def test_overwrite_restarts_and_leaves_other_files_alone(tmp_path):
    train.train(make_config(logdir=str(tmp_path), iterations=64))
    (tmp_path / "notes.txt").write_text("mine")
    train.train(make_config(logdir=str(tmp_path), iterations=96, tau=0.1), overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert list(scalars(tmp_path)["time/fps"]) == [32, 64, 96]
    assert json.loads((tmp_path / "kwargs.json").read_text())["config"]["tau"] == 0.1


def test_max_to_keep_and_checkpoint_interval(tmp_path):
    intervals = {"iterations": 256, "checkpoint_interval": 64, "max_to_keep": 2}
    train.train(make_config(logdir=str(tmp_path), **intervals))
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [192, 256]


def test_evaluation_has_its_own_interval_and_the_best_is_kept(tmp_path):
    """A run that stops between evaluations resumes as if it had not; the return is always 10."""
    config = make_config(logdir=str(tmp_path), iterations=192, eval_interval=80)
    train.train(config, callbacks=[lambda iterations, *_: iterations < 128])
    manifest = array_store.manifest(checkpoint_path(tmp_path, 128) / "state")
    assert (manifest["returns"], manifest["evaluated"], manifest["updates"]) == ([10.0], 96, [96])
    result = train.train(config)
    curves = scalars(tmp_path)
    for tag in ("eval/mean_reward", "time/eval_share"):
        assert list(curves[tag]) == [96, 160, 192], tag
    assert list(curves["train/n_updates"].values()) == [0, 32, 64, 96, 128, 160]
    assert result.metrics["eval/mean_reward"] == 10.0
    best, newest = load_policy(tmp_path, "best"), load_policy(tmp_path, 96)
    assert (best.iterations, newest.iterations) == (96, 96)
    jax.tree.map(np.testing.assert_array_equal, best.actor_params, newest.actor_params)
    jax.tree.map(np.testing.assert_array_equal, best.normalizer, newest.normalizer)


def test_stop_at_ends_the_run_and_a_higher_one_resumes_it(tmp_path, capsys):
    """The return is always 10."""
    command = ("train", *flags(logdir=tmp_path, iterations=96), "--stop_at")
    for words in ("done: 64 iterations", "is finished: at 64 iterations its return has reached"):
        code, out, _ = run(capsys, *command, "10")
        assert code == 0
        assert words in out
        assert "stop_at 10" in out
        assert steps(tmp_path)[-1] == 64
    code, out, _ = run(capsys, *command, "11")
    assert (code, steps(tmp_path)[-1]) == (0, 96)
    assert "stop_at 10.0 -> 11.0" in out


def test_what_a_callback_returns_ends_the_run_if_it_is_false(tmp_path):
    """But None, which is what a function without `return` returns."""
    for number, answer in enumerate((np.bool_(False), jnp.bool_(False), 0), 1):
        train.train(make_config(logdir=str(tmp_path)), callbacks=[lambda *_, x=answer: x])
        assert steps(tmp_path)[-1] == 32 * number, answer
    train.train(make_config(logdir=str(tmp_path), iterations=160), callbacks=[lambda *_: None])
    assert steps(tmp_path)[-1] == 160


def test_a_callback_sees_every_epoch_and_can_end_the_run(tmp_path):
    seen = []

    def callback(iterations, metrics, state):
        seen.append((iterations, metrics["train/n_updates"]))
        return iterations < 64

    train.train(make_config(logdir=str(tmp_path)), callbacks=[callback])
    assert seen == [(32, 0), (64, 32)]
    assert steps(tmp_path)[-1] == 64


def test_ones_own_loss_is_used_and_its_metric_logged(tmp_path):
    def mine(params, state, batch, key, *, networks, config):
        loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
        return 0.0 * loss, {**metrics, "train/mine": loss * 0 + 7.0}

    config = make_config(logdir=str(tmp_path), iterations=64)
    result = train.train(config, losses=Losses(critic=mine))
    assert scalars(tmp_path)["train/mine"] == {64: 7.0}
    critics = result.state.train.critic_params
    targets = result.state.train.target_critic_params
    for a, b in zip(jax.tree.leaves(critics), jax.tree.leaves(targets), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg="a loss of zero moves no critic")


def test_a_non_finite_loss_ends_the_run(tmp_path):
    def breaks(params, state, batch, key, *, networks, config):
        loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
        return loss / 0.0, {**metrics, "train/critic_loss": loss / 0.0}

    with pytest.raises(TrainingError, match=r"train/\w+ is (inf|nan) after 64 iterations"):
        train.train(make_config(logdir=str(tmp_path)), losses=Losses(critic=breaks))
    assert steps(tmp_path)[-1] == 32


def test_non_finite_parameters_are_never_saved(tmp_path):
    """The square root of zero has no slope: one step leaves NaN parameters and a finite loss."""

    def breaks(params, state, batch, key, *, networks, config):
        loss, metrics = actor_loss(params, state, batch, key, networks=networks, config=config)
        return loss + sum(jnp.sqrt(jnp.sum(0.0 * x)) for x in jax.tree.leaves(params)), metrics

    one_step = {"updates_per_iteration": 0.25, "log_interval": 4, "warm_up_steps": 32}
    config = make_config(logdir=str(tmp_path), **one_step)
    with pytest.raises(TrainingError, match="train/parameters is nan after 36 iterations"):
        train.train(config, losses=Losses(actor=breaks))
    assert steps(tmp_path)[-1] == 32


def test_a_directory_that_cannot_be_made_is_named():
    with pytest.raises(UsageError, match=r"logdir = '/proc/nothing'.* choose another --logdir"):
        train.train(make_config(logdir="/proc/nothing"))


def test_what_changed_is_printed_and_takes_effect(tmp_path, capsys):
    train.train(make_config(logdir=str(tmp_path), iterations=64, target_delay=3))
    result = train.train(make_config(logdir=str(tmp_path), iterations=96, target_delay=2))
    assert "iterations 64 -> 96, target_delay 3 -> 2" in capsys.readouterr().out
    assert int(result.state.train.since_target_update) < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_process_interrupted_after_a_checkpoint_resumes(tmp_path, number):
    """The same command again; exit code 130, then 0, and one unbroken curve."""
    logdir, here = tmp_path / "run", pathlib.Path(__file__).parents[2]

    def start(iterations):
        arguments = flags(env=COUNTER, logdir=logdir, iterations=iterations)
        command = [sys.executable, "-m", "mjx_sac", "train", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=here, text=True, **pipes)

    process, deadline = start(100_000_000), time.monotonic() + 240
    while max(steps(logdir), default=0) < 96:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; the same command resumes" in err.splitlines()[-1]

    reached = steps(logdir)[-1]
    assert reached % 32 == 0
    again = start(reached + 64)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert f"resuming {logdir} at {reached:,} iterations" in out
    assert list(scalars(logdir)["time/fps"]) == list(range(32, reached + 65, 32))
