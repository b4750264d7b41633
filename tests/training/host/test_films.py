"""Films in the logs: real ones, read back from event files; and what may go wrong with them."""

import shutil
import time

import numpy as np
import pytest
from helpers import slider
from helpers.envs import Counter
from helpers.films import wait_for_each
from helpers.runs import make_config, save_run
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac import envs
from mjx_sac.policy import opengl
from mjx_sac.runs import array_store
from mjx_sac.training.host import films, train
from mjx_sac.types import named_leaves

SLIDER = "helpers.slider:Slider"
"""Moves 1 to the right every half second, three times, whatever the policy does."""

DRAW = """
import pathlib, shutil, sys
from PIL import Image
directory, step, out = (sys.argv[i] for i in (3, 5, 7))
Image.new("P", (8, 6), color=int(step) % 256).save(out)
shutil.copytree(f"{directory}/checkpoints/{step}/policy", f"{directory}/drawn/{step}")
"""
"""Draws the number of iterations at once, and keeps the policy that it was handed."""


@pytest.fixture
def lines(monkeypatch):
    """What the user is shown."""
    shown = []
    monkeypatch.setattr(train.Console, "message", lambda _, text: shown.append(text))
    return shown


@pytest.fixture
def patient(monkeypatch):
    wait_for_each(monkeypatch)


def run(logdir, **changes):
    return train.train(make_config(**{"logdir": str(logdir), "env": SLIDER, **changes}))


def shown(directory):
    """Films by iterations, as TensorBoard shows them."""
    events = EventAccumulator(str(directory)).Reload()
    if "film" not in events.Tags()["images"]:
        return {}
    return {image.step: image.encoded_image_string for image in events.Images("film")}


def warnings(lines):
    return [line for line in lines if "film" in line and line.startswith("warning")]


@pytest.mark.skipif(all(map(opengl.problem, opengl.BACKENDS)), reason="no OpenGL here")
def test_films_are_in_the_event_file_at_their_iterations(tmp_path, patient, lines):
    """Four moments of half a second each, in which the red body moves to the right."""
    run(tmp_path, film_interval=64)
    found = shown(tmp_path)
    assert [*found] == [64, 128]
    assert warnings(lines) == []
    for iterations, data in found.items():
        path = tmp_path / "films" / f"{iterations}.gif"
        assert path.read_bytes() == data
        with Image.open(path) as film:
            assert (film.format, film.n_frames, film.info["duration"]) == ("GIF", 4, 500)
            frames = [np.asarray(f.convert("RGB"), float) for f in ImageSequence.Iterator(film)]
        red = [np.nonzero(f[..., 0] > 2 * f[..., 1] + 20)[1] for f in frames[:2]]
        assert red[1].mean() > red[0].mean() + 10
    assert [*(tmp_path / "films" / "checkpoints").iterdir()] == []


def test_a_film_is_of_the_policy_at_its_iterations(tmp_path, patient, monkeypatch):
    monkeypatch.setattr(films, "_COMMAND", DRAW)
    result = run(tmp_path, film_interval=50)  # in whole epochs: after 64, after 128 (100)
    assert [*shown(tmp_path)] == [64, 128]
    last, first = (dict(array_store.read(tmp_path / "films" / "drawn" / n)) for n in ("128", "64"))
    for name, x in named_leaves(result.state.train.actor):
        np.testing.assert_array_equal(last[f"actor_params.{name}"], x)
    moved = [name for name, x in first.items() if not np.array_equal(x, last[name])]
    assert "normalizer.mean" in moved
    assert any(name.startswith("actor_params") for name in moved)


def test_of_a_population_the_first_agent(tmp_path, patient, monkeypatch):
    monkeypatch.setattr(films, "_COMMAND", DRAW)
    members = ({"tau": 0.01}, {"tau": 0.02})
    result = run(tmp_path, film_interval=128, members=members)
    (first, second) = result.experiment.config.agent_names()
    assert [[*shown(tmp_path / name)] for name in (first, second)] == [[128], []]
    drawn = tmp_path / "films" / "drawn" / "128"
    stored, config = dict(array_store.read(drawn)), array_store.manifest(drawn)["config"]
    assert (config["tau"], config["members"], config["num_seeds"]) == (0.01, [], 1)
    for name, x in named_leaves(result.state.train.actor):
        np.testing.assert_array_equal(stored[f"actor_params.{name}"], x[0])


def test_nothing_is_drawn_unless_asked_for(tmp_path, lines):
    run(tmp_path)
    assert not (tmp_path / "films").exists()


def test_a_film_that_takes_longer_is_not_waited_for(tmp_path, monkeypatch, lines):
    """It is the only one, and at the end it is given up."""
    monkeypatch.setattr(films, "FINISH_SECONDS", 1.0)
    monkeypatch.setattr(films, "_COMMAND", "import time; time.sleep(1000)")
    made = []
    begin = films.Films._begin
    monkeypatch.setattr(films.Films, "_begin", lambda *a: (begin(*a), made.append(a[0]))[0])
    run(tmp_path, film_interval=32)
    (one,) = made
    assert one._process.poll() is not None
    assert [line for line in lines if line.startswith(("a film", "the last", "warning"))] == [
        "a film takes longer than film_interval 32: some are left out",
        "the last film is being drawn, for 1 s at most",
        "warning: the last film is not drawn within 1 s",
    ]
    assert shown(tmp_path) == {}


FAILURES = {
    "crash": ("import os; os.abort()", "its process was ended by signal 6"),
    "hang": ("import signal, time; signal.alarm(1); time.sleep(99)", "not drawn within 3600 s"),
    "error": ("import sys; sys.exit('mjx-sac: MUJOCO_GL: no OpenGL here')", "MUJOCO_GL: no OpenGL"),
    "nothing": ("pass", "No such file or directory"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_film_that_fails_costs_one_warning(name, tmp_path, patient, monkeypatch, lines):
    command, words = FAILURES[name]
    monkeypatch.setattr(films, "_COMMAND", command)
    result = run(tmp_path, film_interval=32)
    assert result.metrics["train/n_updates"] == 96
    (warning,) = warnings(lines)
    assert warning.startswith("warning: no films from here on: ")
    assert words in warning
    assert warning.endswith(f"({tmp_path}/films/log says more)")


def test_a_directory_that_cannot_be_written_costs_one_warning(tmp_path, lines):
    (tmp_path / "films").touch()
    assert run(tmp_path, film_interval=32).metrics["train/n_updates"] == 96
    (warning,) = warnings(lines)
    assert "Not a directory" in warning


@pytest.mark.slow
def test_the_real_command_is_ended_by_its_alarm_wherever_it_hangs(
    tmp_path, patient, monkeypatch, lines
):
    monkeypatch.setattr(films, "DRAWING_SECONDS", 10)
    begun = time.monotonic()
    run(tmp_path, env="helpers.films:Hanging", film_interval=64, episode_length=None)
    assert 10 < time.monotonic() - begun < 100
    (warning,) = warnings(lines)
    assert "not drawn within 10 s" in warning
    assert shown(tmp_path) == {}


def test_what_has_no_model_is_not_drawn_and_said_before_training(tmp_path, lines):
    run(tmp_path, env="helpers.envs:Counter", film_interval=32)
    (warning,) = warnings(lines)
    assert "env = 'helpers.envs:Counter' has no MuJoCo model" in warning
    assert lines.index(warning) < lines.index("training")
    assert not (tmp_path / "films").exists()


def test_what_another_process_cannot_find_is_not_drawn(tmp_path, lines):
    config = make_config(film_interval=32, env=SLIDER)
    assert films.problem(config, slider.Slider(), named=True) is None
    assert "by name" in (films.problem(config, slider.Slider(), named=False) or "")
    envs.register("sliding", slider.Slider)
    config = make_config(film_interval=32, env="sliding")
    assert "by name" in (films.problem(config, slider.Slider(), named=True) or "")
    assert films.problem(make_config(), Counter(), named=False) is None
    train.train(make_config(logdir=str(tmp_path), film_interval=32), env=slider.Slider())
    assert len(warnings(lines)) == 1
    assert not (tmp_path / "films").exists()


@pytest.mark.parametrize(("left", "expected"), [(64, [64, 128]), (96, [128])])
def test_a_film_that_was_interrupted_is_resumed(left, expected, tmp_path, patient, monkeypatch):
    """Of 64 iterations, after which there is a checkpoint; of 96, which were lost."""
    monkeypatch.setattr(films, "_COMMAND", DRAW)
    save_run(tmp_path, slider.Slider(), env=SLIDER, steps=(64,), film_interval=128)
    interrupted = tmp_path / "films" / "checkpoints" / str(left)
    shutil.copytree(tmp_path / "checkpoints" / "64" / "policy", interrupted / "policy")
    unfinished = interrupted.with_name("new")
    unfinished.mkdir()
    config = make_config(logdir=str(tmp_path), env=SLIDER, film_interval=128)
    train.train(config)
    assert [*shown(tmp_path)] == expected
    assert [*interrupted.parent.iterdir()] == []


def test_an_interrupted_run_waits_for_no_film(tmp_path, monkeypatch):
    """What it would have shown is kept for when the run resumes."""
    monkeypatch.setattr(films, "_COMMAND", "import time; time.sleep(1000)")
    started = []
    begin = films.Films._begin
    monkeypatch.setattr(films.Films, "_begin", lambda *a: (begin(*a), started.append(a[0]))[0])

    def interrupt(iterations, metrics, state):
        if iterations == 96:
            raise KeyboardInterrupt

    config = make_config(logdir=str(tmp_path), env=SLIDER, film_interval=64)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train.train(config, callbacks=[interrupt])
    assert started[0]._process.poll() is not None
    assert time.monotonic() - begun < films.FINISH_SECONDS
    assert (tmp_path / "films" / "checkpoints" / "64" / "policy").exists()
    monkeypatch.setattr(films, "_COMMAND", DRAW)
    wait_for_each(monkeypatch)
    train.train(config)
    assert [*shown(tmp_path)] == [64, 128]
    train.train(config, overwrite=True)
    assert [*shown(tmp_path)] == [64, 128]
    assert sorted(path.name for path in (tmp_path / "films" / "drawn").iterdir()) == ["128", "64"]
