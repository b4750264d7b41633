"""Lines, a bar and heartbeats."""

import io
import os
import subprocess
import sys
import time

import pytest

from mjx_sac.training.host import console as console_lib
from mjx_sac.training.host.console import Console


def lines(capsys):
    return [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]


def test_phases_are_lines_once_and_short_ones_are_not(capsys):
    with Console(100) as console:
        for phase in ("compiling", "training", "evaluating", "saving", "training", "training"):
            console.phase(phase)
    assert lines(capsys) == ["compiling", "training", "training"]


def test_progress_shows_rates_return_and_what_is_left(capsys):
    with Console(1000, agents=3) as console:
        console.progress(400, (100.0, 50.0), 7.25)
        console.progress(1000, (0.1, 0.1), None)
    # 600 iterations at 100 per second are 6 seconds.
    assert lines(capsys) == [
        "400/1,000 iterations  100 it/s x 3 agents  50 updates/s x 3 agents  return 7.2  ETA 00:06",
        "1,000/1,000 iterations  0 it/s x 3 agents  0 updates/s x 3 agents  ETA 00:00",
    ]


def test_a_long_phase_has_heartbeats(capsys, monkeypatch):
    monkeypatch.setattr(console_lib, "_HEARTBEAT_SECONDS", 0.1)
    with Console(100) as console:
        console.phase("evaluating")
        deadline, out = time.monotonic() + 30, ""
        while "evaluating, for" not in out:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            out += capsys.readouterr().out


class Failing(io.StringIO):
    """A stream whose `what` raises `error`."""

    def __init__(self, what, error):
        super().__init__()
        self.what, self.error, self.calls = what, error, 0

    def fail(self, what):
        if what == self.what:
            self.calls += 1
            raise self.error

    def write(self, text):
        self.fail("write")
        return super().write(text)

    def flush(self):
        self.fail("flush")

    def isatty(self):
        self.fail("isatty")
        return True


ERRORS = [OSError(28, "No space left"), ValueError("closed file"), RuntimeError("reentrant call")]


@pytest.mark.parametrize("terminal", [None, True])
@pytest.mark.parametrize("what", ["write", "flush", "isatty"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_cannot_be_shown_ends_nothing(monkeypatch, what, error, terminal):
    monkeypatch.setattr(sys, "stdout", Failing(what, error))
    with Console(100, terminal=terminal) as console:
        console.phase("training")
        console.progress(50, (10.0, 10.0), 1.5)
        console.message("a line")
    console_lib.print_line("another")
    assert sys.stdout.calls or terminal


@pytest.mark.parametrize("stream", [None, "closed"])
def test_no_stream_at_all_ends_nothing(monkeypatch, stream):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", stream and closed)
    with Console(100) as console:
        console.message("a line")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_stream_lacks_is_a_question_mark(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", out)
    with Console(100) as console:  # lines, for the bar has such characters
        console.message("\u2501 and \N{GREEK SMALL LETTER ALPHA}")
    assert out.buffer.getvalue().decode(encoding) == "[00:00] ? and ?\n"


def test_a_quiet_console_shows_nothing(capsys):
    with Console(100, quiet=True) as console:
        console.message("one of several processes")
    assert capsys.readouterr().out == ""


def test_a_terminal_has_a_bar(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with Console(100, terminal=True) as console:
        console.phase("training")
        console.progress(50, (10.0, 10.0), 1.5)
        console.message("a line that stays")
    assert "a line that stays" in out.getvalue()
    assert "50/100" in out.getvalue()


def test_a_reader_that_has_left_ends_nothing():
    code = (
        "import sys\nfrom mjx_sac.training.host.console import print_line\n"
        "sys.stdin.read()\nprint_line('x' * 100_000)\nprint_line('y')\nsys.exit(7)"
    )
    read, write = os.pipe()
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE)
    os.close(read)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
