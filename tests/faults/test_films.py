"""A run with films that is killed while one is drawn, and resumed: real processes."""

import pathlib
import signal
import time

import pytest
from helpers.evidence import curves
from helpers.films import wait_for_each
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.policy import opengl
from mjx_sac.runs.directory import steps
from mjx_sac.runs.resolve import resolve
from mjx_sac.training.host import train

pytestmark = pytest.mark.slow
SLIDER = "helpers.slider:Slider"


def drawing(logdir):
    """Command lines of processes that draw films of that run."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"record {logdir}/films" in text:
            found.append(text)
    return found


@pytest.mark.skipif(all(map(opengl.problem, opengl.BACKENDS)), reason="no OpenGL here")
@pytest.mark.parametrize(("interval", "expected"), [(64, [64, 128, 192]), (96, [96, 192])])
def test_a_killed_run_resumes_its_films(interval, expected, run, tmp_path, monkeypatch):
    """Killed at 128 iterations, its checkpoint at 64, while the film of 64 or 96 is drawn."""
    logdir = tmp_path / "run"
    settings = {"checkpoint_interval": 64, "iterations": 192, "env": SLIDER}
    settings["film_interval"] = interval
    fault = {"signal": signal.SIGKILL, "phase": "saving", "nth": 2, "saved": 64, "drawn_for": 600}
    assert run(logdir, fault, **settings)[0] == -signal.SIGKILL
    assert steps(logdir) == [64]
    assert steps(logdir / "films") == [expected[0]]
    deadline = time.monotonic() + 10
    while drawing(logdir):
        assert time.monotonic() < deadline, "it outlives the run"
        time.sleep(0.1)
    assert not (logdir / "films" / f"{expected[0]}.gif").exists()
    wait_for_each(monkeypatch)
    train.train(resolve({"logdir": str(logdir), "env": SLIDER}))
    images = EventAccumulator(str(logdir)).Reload().Images("film")
    assert [image.step for image in images] == expected
    for image in images:
        path = logdir / "films" / f"{image.step}.gif"
        assert path.read_bytes() == image.encoded_image_string
    assert [*dict(curves(logdir)["replay/size"])] == [32, 64, 96, 128, 160, 192]
    assert steps(logdir / "films") == []
