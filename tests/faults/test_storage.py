"""Disks, directories and caches that fail a run."""

import subprocess

import pytest
from helpers.evidence import saved_state
from helpers.runs import make_config

from mjx_sac.runs.directory import steps
from mjx_sac.training.host import train

pytestmark = pytest.mark.slow


def test_a_disk_quota_that_is_used_up(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, _, last, _ = run(logdir, {"quota": 2})
    assert code == 3
    assert "cannot be written" in last
    assert steps(logdir) == [32]
    outcome("no file can grow any more: a quota", "what came after the last checkpoint", last)
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full(run, whole, small_disk, outcome):
    logdir = small_disk / "run"
    code, _, last, _ = run(logdir, {"disk_full": 2})
    assert code == 3
    assert "cannot be written" in last
    there = steps(logdir)
    assert there in ([32], [32, 64]), "the second may be on disk already, or just being written"
    for step in there:
        saved_state(logdir, step)  # verifies it
    # The event file says so too, unless its last block had room for the epoch's entry.
    outcome("the disk is full", "what came after the last checkpoint, and its curves", last)
    (logdir / "filler").unlink()
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)


def test_a_directory_that_cannot_be_written(run, outcome):
    """/proc, where not even root may write: permissions would not stop a test run as root."""
    code, _, last, _ = run("/proc/run")
    assert code == 2
    assert "choose another --logdir" in last
    outcome("the run's directory cannot be made or written to", "nothing", last)


def test_an_event_file_that_cannot_be_written(tmp_path, outcome, capsys, monkeypatch):
    def refuse(self, event):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.write", refuse)
    train.train(make_config(logdir=str(tmp_path / "run"), iterations=64))
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    outcome("the event file cannot be written", "curves from there on", warnings[0].split("] ")[1])


def test_a_corrupt_compilation_cache(run, whole, tmp_path, outcome):
    logdir, cache = tmp_path / "run", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run(tmp_path / "first", environment=cache)[0] == 0
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, _, _, err = run(logdir, environment=cache)
    assert code == 0, err
    assert saved_state(logdir) == saved_state(whole)
    outcome("the compilation cache is corrupt", "a compilation", "nothing: it is compiled again")
