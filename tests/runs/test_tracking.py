"""Trackers: the real ones, in their processes; what they wrote is read back from their files."""

import os
import shutil
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from helpers import trackers
from helpers.trackers import TAG, Tracking

from mjx_sac.config.validation import TRACKERS
from mjx_sac.runs import directory, tracking


@pytest.mark.parametrize("name", TRACKERS)
def test_what_is_logged_is_read_back(name, tmp_path, home):
    run = tmp_path / "run"
    tracked = Tracking(name, run, tau=0.25)
    tracked.log({32: 1.5, 64: -2.0})
    tracked.close()
    (found,) = trackers.read(name, run, home)
    tag = "env/a_b" if name == "mlflow" else "env/a,b"
    assert found.curves() == {TAG: {32: 1.5, 64: -2.0}, tag: {32: 0.5, 64: 0.5}}
    assert (float(found.config["tau"]), found.config["git_commit"]) == (0.25, "abc123")
    assert found.config["command"] == "mjx-sac train"
    nested = found.config["versions/jax"] if name == "mlflow" else found.config["versions"]["jax"]
    assert nested == "0.10.2"
    assert found.group is None
    assert found.status == {"wandb": "0", "mlflow": "FINISHED"}.get(name)
    assert tracked.warnings == []


@pytest.mark.parametrize("name", TRACKERS)
def test_a_resumed_run_is_the_same_and_no_step_is_there_twice(name, tmp_path, home):
    """Logged until 128 and interrupted, back at a checkpoint of 64: what 96 and 128 had stays."""
    run = tmp_path / "run"
    first = Tracking(name, run)
    first.log({32: 1.0, 64: 2.0, 96: 3.0, 128: 4.0})
    first.close("killed")
    (killed,) = trackers.read(name, run, home)
    assert killed.status == {"wandb": "1", "mlflow": "KILLED"}.get(name)
    second = Tracking(name, run, tau=0.5)  # a parameter that a resumed run may change
    second.log({96: 30.0, 128: 40.0, 160: 50.0})
    second.close()
    (found,) = trackers.read(name, run, home)
    assert found.curves()[TAG] == {32: 1.0, 64: 2.0, 96: 3.0, 128: 4.0, 160: 50.0}
    assert found.id == killed.id
    assert float(found.config["tau"]) == 0.5
    assert found.status == {"wandb": "0", "mlflow": "FINISHED"}.get(name)
    assert first.warnings == second.warnings == []


def test_a_restarted_run_is_another(tmp_path, home):
    for value in (1.0, 2.0):
        directory.clear(tmp_path / "run")  # as --overwrite does
        tracked = Tracking("trackio", tmp_path / "run")
        tracked.log({32: value})
        tracked.close()
    curves = [one.curves()[TAG] for one in trackers.read("trackio", tmp_path / "run", home)]
    assert curves == [{32: 1.0}, {32: 2.0}]


@pytest.mark.parametrize("name", TRACKERS)
def test_agents_of_a_population_are_runs_of_a_group(name, tmp_path, home):
    run = tmp_path / "run"
    tracked = Tracking(name, run, num_seeds=2)
    tracked.log({32: 1.0})
    tracked.agents[0].close("failed")
    tracked.agents[1].log(64, {TAG: 3.0})
    tracked.agents[1].close("finished")
    tracking.close(tracked.trackers)
    found = sorted(trackers.read(name, run, home), key=lambda one: int(one.config["seed"]))
    assert [one.curves()[TAG] for one in found] == [{32: 1.0}, {32: 2.0, 64: 3.0}]
    assert {one.group for one in found} == {f"{tmp_path.name}/run"}
    expected = {"wandb": ["1", "0"], "mlflow": ["FAILED", "FINISHED"]}.get(name, [None, None])
    assert [one.status for one in found] == expected


def test_a_killed_tracker_costs_one_warning(tmp_path, home):
    tracked = Tracking("trackio", tmp_path / "run")
    tracked.log({32: 1.0})
    tracked.until(tracked.drained)
    (tracker,) = tracked.trackers
    tracker._process.kill()
    tracked.log({48: 1.0})  # which it does not take
    tracked.until(lambda: tracker._over)
    began = time.monotonic()
    tracked.log(dict.fromkeys(range(64, 10_000), 1.0))
    tracked.close()
    assert time.monotonic() - began < 2
    (warning,) = tracked.warnings
    assert warning.startswith("warning: trackio: given up, its process has ended (")
    assert (tmp_path / "run" / "tracking" / "trackio.log").exists()


@pytest.mark.parametrize("when", ["logs", "starts", "finishes"])
def test_a_tracker_that_hangs_costs_one_warning(when, tmp_path, home, monkeypatch):
    for name in ("START_SECONDS", "ANSWER_SECONDS", "FINISH_SECONDS"):
        limit = 1.0 if name == {"logs": "ANSWER_SECONDS", "starts": "START_SECONDS"}.get(when) or (
            when == "finishes" and name == "FINISH_SECONDS") else 100.0  # fmt: skip
        monkeypatch.setattr(tracking, name, limit)
    tracked = Tracking("trackio", tmp_path / "run")
    (tracker,) = tracked.trackers
    tracked.until(lambda: tracker._process)
    if when != "starts":
        tracked.log({32: 1.0})
        tracked.until(tracked.drained)
        time.sleep(1.0)
    os.killpg(tracker._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    tracked.log({64: 1.0})
    assert time.monotonic() - began < 0.1, "training does not wait"
    if when != "finishes":
        tracked.until(lambda: tracker._over)
    tracked.close()
    reason = "not finished within 1 s" if when == "finishes" else "no answer for 1 s"
    (warning,) = tracked.warnings
    assert warning.startswith(f"warning: trackio: given up, {reason} (")
    assert tracker._process.poll() is not None


def test_a_tracker_that_is_too_slow_misses_something_and_says_so_once(tmp_path, home, monkeypatch):
    monkeypatch.setattr(tracking, "ROOM", 5)
    tracked = Tracking("trackio", tmp_path / "run")
    began = time.monotonic()
    tracked.log(dict.fromkeys(range(32, 3200, 32), 1.0))  # while it is imported
    assert time.monotonic() - began < 0.1
    tracked.until(tracked.drained)
    tracked.log({3200: 2.0})
    tracked.close()
    (warning,) = tracked.warnings
    assert "it is 5 messages behind, and misses what comes meanwhile" in warning
    (found,) = trackers.read("trackio", tmp_path / "run", home)
    curve = found.curves()[TAG]
    assert {*curve} < {*range(32, 3201, 32)}
    assert curve[3200] == 2.0


@pytest.fixture
def silent():
    """The address of a server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_server_that_answers_nothing(name, silent, tmp_path, home, monkeypatch):
    """W&B goes offline, MLflow into a file; Trackio keeps what it cannot send."""
    monkeypatch.setattr(tracking, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 100.0)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", silent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent)
    run = tmp_path / "run"
    if name == "trackio":
        monkeypatch.setenv("TRACKIO_SERVER_URL", f"{silent}?write_token=x")
    tracked = Tracking(name, run)
    began = time.monotonic()
    tracked.log({32: 1.0, 64: 2.0})
    assert time.monotonic() - began < 0.1
    tracked.close()
    (warning,) = tracked.warnings
    assert silent in warning
    if name == "trackio":
        return
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (found,) = trackers.read(name, run, home)
    assert found.curves()[TAG] == {32: 1.0, 64: 2.0}
    # The server is back, but the run stays where it began.
    monkeypatch.delenv("WANDB_BASE_URL")
    resumed = Tracking(name, run)
    resumed.log({96: 3.0})
    resumed.close()
    (found,) = trackers.read(name, run, home)
    assert found.curves()[TAG] == {32: 1.0, 64: 2.0, 96: 3.0}
    assert resumed.warnings == []


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_): ...


@pytest.fixture
def refusing():
    """The address of a server that knows nothing."""
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_not_logged_in(refusing, tmp_path, home, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", refusing)
    tracked = Tracking("wandb", tmp_path / "run")
    tracked.log({32: 1.0})
    tracked.close()
    (warning,) = tracked.warnings
    assert warning.startswith(f"warning: wandb: offline into {tmp_path}/run/wandb/offline-run-*: ")
    assert "API key" in warning
    (found,) = trackers.read("wandb", tmp_path / "run", home)
    assert found.curves()[TAG] == {32: 1.0}


def test_a_tracker_that_cannot_begin_costs_one_warning(refusing, tmp_path, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing)
    tracked = Tracking("mlflow", tmp_path / "run")
    tracked.log({32: 1.0, 64: 1.0})
    tracked.close()
    (warning,) = tracked.warnings
    assert "404" in warning
    assert "Traceback" in (tmp_path / "run" / "tracking" / "mlflow.log").read_text()


def test_a_tracker_that_cannot_write_costs_one_warning(tmp_path, home):
    tracked = Tracking("trackio", tmp_path / "run")
    tracked.log({32: 1.0})
    tracked.until(lambda: (home / "trackio" / "mjx-sac.db").exists())
    shutil.rmtree(home / "trackio")
    (home / "trackio").write_text("in its place")
    for iterations in (64, 96, 128):
        tracked.log({iterations: 1.0})
        time.sleep(1.0)  # it writes every half second
    tracked.close()
    (warning,) = tracked.warnings
    assert "RuntimeError" in warning
