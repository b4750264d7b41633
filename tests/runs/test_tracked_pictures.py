"""Histograms and films in trackers: the real ones, read back from their files."""

import json
import sqlite3

import pytest
from helpers import trackers
from helpers.trackers import TAG, Tracking
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.config.validation import TRACKERS
from mjx_sac.runs.event_files import EventWriter


@pytest.mark.parametrize("name", TRACKERS)
def test_histograms_where_the_tracker_has_some(name, tmp_path, home):
    run, edges = tmp_path / "run", [-1.0, 0.0, 2.0]
    tracked = Tracking(name, run)
    for agent in tracked.agents:
        agent.log(32, {TAG: 1.5, "histogram/q": ([0.25, 0.75], edges)})
    tracked.close()
    (found,) = trackers.read(name, run, home)
    assert found.curves()[TAG] == {32: 1.5}
    assert tracked.warnings == []
    if name == "mlflow":
        assert [tag for tag, *_ in found.points] == [TAG]
    elif name == "wandb":
        shown = {tag.rpartition("/")[2]: x for tag, _, x in found.points if tag != TAG}
        assert shown == {"_type": "histogram", "values": [0.25, 0.75], "bins": edges}
    else:
        with sqlite3.connect(home / "trackio" / "mjx-sac.db") as base:
            (text,) = next(base.execute("select metrics from metrics"))
        shown = json.loads(text)["histogram/q"]
        assert (shown["bins"], shown["values"]) == (edges, [0.25, 0.75])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_film_is_shown(name, tmp_path, home):
    run, film = tmp_path / "run", tmp_path / "film.gif"
    frames = [Image.new("P", (8, 6), color=i) for i in range(3)]
    frames[0].save(film, save_all=True, append_images=frames[1:])
    tracked = Tracking(name, run)
    tracked.log({32: 1.0})
    for agent in tracked.agents:
        agent.log(64, {TAG: 2.0})
        agent.film(32, film)  # rendered in the meantime
        agent.log(96, {TAG: 3.0})
    tracked.close()
    places = {
        "wandb": run.glob("wandb/offline-run-*/files/media/**/*.gif"),
        "trackio": (home / "trackio").rglob("*.gif"),
        "mlflow": (tmp_path / "mlartifacts").rglob("film.gif"),
    }
    (shown,) = places[name]
    assert shown.read_bytes() == film.read_bytes()
    if name == "trackio":
        with sqlite3.connect(home / "trackio" / "mjx-sac.db") as base:
            rows = [json.loads(text) for (text,) in base.execute("select metrics from metrics")]
        (kind,) = (row["film"]["_type"] for row in rows if "film" in row)
        assert kind == "trackio.image", "its page plays no GIF as a video"
    (found,) = trackers.read(name, run, home)
    assert {step: x for tag, step, x in found.points if tag == TAG} == {32: 1.0, 64: 2.0, 96: 3.0}
    assert tracked.warnings == []


def test_a_film_is_not_there_twice(tmp_path, home):
    """A resumed run draws again what it had drawn after its checkpoint."""
    film = tmp_path / "film.gif"
    Image.new("P", (8, 6)).save(film)
    for films in ((32, 64), (64, 96)):
        tracked = Tracking("mlflow", tmp_path / "run")
        for iterations in films:
            tracked.agents[0].film(iterations, film)
        tracked.close()
    found = (tmp_path / "mlartifacts").rglob("film.gif")
    assert sorted(int(path.parent.name) for path in found) == [32, 64, 96]


def test_tensorboard_shows_a_film(tmp_path):
    film = tmp_path / "film.gif"
    Image.new("P", (8, 6)).save(film)
    writer = EventWriter(tmp_path, 0, pytest.fail)
    writer.film(32, film)
    writer.close()
    (image,) = EventAccumulator(str(tmp_path)).Reload().Images("film")
    assert (image.step, image.width, image.height) == (32, 8, 6)
    assert image.encoded_image_string == film.read_bytes()
