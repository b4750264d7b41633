"""`mjx-sac watch`: a run seen from another terminal."""

import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest
from helpers.cli import run, run_in_new_process
from helpers.runs import save_logged_run

from mjx_sac.cli.watch import lines, sparkline
from mjx_sac.runs.directory import checkpoint_path, lock
from mjx_sac.runs.info import inspect


@pytest.fixture
def logged(tmp_path):
    save_logged_run(tmp_path)
    return tmp_path


def test_a_curve_is_a_line_from_its_lowest_to_its_highest_value():
    assert sparkline([0.0, 1.0, 7.0]) == "▁▂█"
    assert sparkline([5.0, 5.0]) == "▁▁"
    # 480 values are 48 means of ten, which go from 4.5 to 474.5: the 24th is near the middle.
    line = sparkline([float(i) for i in range(480)])
    assert (len(line), line[0], line[-1], line[24]) == (48, "▁", "█", "▅")


def test_progress_returns_rates_and_health_of_a_run(logged):
    found = {**inspect(logged), "last_written": 1000.0}
    found["config"]["iterations"] = found["iterations"]["total"] = 192
    found["health"] = {"health/nonfinite_steps": 3.0, "health/nonfinite_parameters": 0.0}
    text = "\n".join(lines(found, now=1065.0))
    assert "█" * 24 + "░" * 24 + " 50%" in text
    assert "96 of 192 iterations, 0:00:11 left" in text  # 96 more at 9 iterations/s
    assert "eval         █▁ 10.0 (best 12.0)" in text
    assert "iterations/s ▁▅█ 9\n" in text or "iterations/s ▁▄█ 9\n" in text
    assert "checkpoint   96 iterations, 3 kept" in text
    assert "none trains there now, last logged 0:01:05 ago" in text
    assert text.endswith("health       3 nonfinite steps in the last epoch")


def test_who_trains_and_what_is_damaged_is_shown(logged, capsys):
    (checkpoint_path(logged, 64) / "state" / "manifest.json").write_text("{}")
    with lock(logged):
        code, out, _ = run(capsys, "watch", logged)
    assert code == 0
    assert f"process      {os.getpid()} on " in out
    assert "checkpoint 64 is damaged" in out
    assert "none trains there now" in run(capsys, "watch", logged)[1]


def test_it_looks_once_where_nobody_does_and_without_jax(logged):
    code, out, heavy = run_in_new_process("watch", logged)
    assert (code, heavy) == (0, [])
    assert out.count("progress") == 1


def test_a_terminal_is_renewed_until_it_is_interrupted(logged):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mjx_sac", "watch", str(logged), "--every", "0.1"]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    # Tests that run in the background have SIGINT ignored, and what they start inherits it.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, **streams, preexec_fn=heed)
    os.close(theirs)
    shown = b""
    while shown.count(b"iterations/s") < 3:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the other end is closed
        while True:
            shown += os.read(ours, 4096)
    assert process.wait() == 0
    assert b"Traceback" not in shown


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    code, _, err = run(capsys, "watch", tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "no such directory" in err
