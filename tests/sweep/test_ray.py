"""A real Ray cluster on this machine: jobs in other processes, one of which dies."""

import json
import os
import signal
import time

import pytest
from helpers.sweeps import sweep_process

from mjx_sac.runs.directory import steps

pytest.importorskip("ray")


def test_workers_train_and_another_retries(tmp_path):
    """The first worker is killed after a checkpoint, from which another resumes."""
    out = tmp_path / "out"
    how = ["--param", "policy_lr=1e-3,3e-3", "--ray", "local", "--workers", "2"]
    process = sweep_process(out, *how, iterations=3200, max_to_keep=999)
    while not steps(out / "part_0"):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    worker = int((out / "part_0" / "lock").read_text().split()[0])
    os.kill(worker, signal.SIGKILL)
    assert worker != process.pid
    saved = [path.stat().st_mtime_ns for path in (out / "part_0" / "checkpoints").glob("32/state")]
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    found = json.loads((out / "sweep.json").read_text())
    assert [row["state"] for row in found["trials"]] == ["completed", "completed"]
    kept = [path.stat().st_mtime_ns for path in (out / "part_0" / "checkpoints").glob("32/state")]
    assert saved == kept != []
    assert len(list((out / "part_0").rglob("events.*"))) == 2, "two workers logged there"
    assert "best: --policy_lr" in output


def test_the_error_of_a_job_is_one_line(tmp_path):
    out = tmp_path / "out"
    process = sweep_process(out, "--param", "tau=0.1", "--ray", "local", "--metric", "eval/mean")
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 2, output
    assert "did you mean eval/mean_reward" in output.splitlines()[-1]
