"""Runs that end, by themselves, by signals and by others: real processes, and what was lost."""

import random
import signal

import pytest
from helpers.evidence import curves, saved_state

from mjx_sac.runs.directory import steps

pytestmark = pytest.mark.slow


def test_a_run_resumed_by_a_new_process(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    assert run(logdir, iterations=64)[0] == 0
    code, out, _, _ = run(logdir)
    assert code == 0
    assert saved_state(logdir) == saved_state(whole)
    assert curves(logdir) == curves(whole)
    line = next(line for line in out.splitlines() if "at 64 iterations" in line)
    assert "resuming" in line
    outcome(
        "a run ends, and the same command with more iterations resumes it",
        "nothing: every bit as in one run",
        line.split("] ")[1],
    )


def test_ant_resumed_by_a_new_process(run, tmp_path):
    """MJX physics: one process against two."""
    ant = {
        "env": "ant",
        "num_envs": 2,
        "episode_length": 20,
        "episodes_per_eval": 1,
        "reset_pool_size": 4,
    }
    assert run(tmp_path / "whole", **ant)[0] == 0
    for iterations in (64, 128):
        assert run(tmp_path / "parts", **ant, iterations=iterations)[0] == 0
    assert saved_state(tmp_path / "parts") == saved_state(tmp_path / "whole")
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")


@pytest.mark.parametrize("phase", ["compiling", "warm-up", "training", "evaluating", "saving"])
def test_sigterm_in_every_phase(run, whole, tmp_path, outcome, phase):
    logdir = tmp_path / "run"
    code, _, last, err = run(logdir, {"signal": signal.SIGTERM, "phase": phase})
    assert code == 130, err
    assert "interrupted" in last
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    lost = "the compilation" if phase == "compiling" else "nothing: the epoch is finished and saved"
    outcome(f"SIGTERM or Ctrl-C during {phase}", lost, last)


def test_sigterm_twice_leaves_at_once(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, *_ = run(logdir, {"signal": signal.SIGTERM, "phase": "saving", "times": 2})
    assert code == -signal.SIGTERM
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    outcome("SIGTERM twice", "what was not saved yet", "nothing: the process is gone")


@pytest.mark.parametrize("write", [1, 4, 6, 7])
def test_sigkill_in_the_middle_of_writing_a_file(run, whole, tmp_path, write):
    logdir = tmp_path / "run"
    code, *_ = run(logdir, {"kill_write": write})
    assert code == -signal.SIGKILL
    complete = (write - 1) // 4  # four files a checkpoint
    assert steps(logdir) == [32 * (i + 1) for i in range(complete)]
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    assert curves(logdir) == curves(whole)


def test_sigkill_at_random_moments(run, tmp_path, outcome):
    """Two runs that are killed and resumed eight times each: twenty kills with the four above."""
    moments = random.Random(0)
    long = {"iterations": 25_600}  # none ends before its last kill
    assert run(tmp_path / "whole", **long)[0] == 0
    for i in range(2):
        logdir, reached = tmp_path / str(i) / "run", 0
        for _ in range(8):
            code, *_ = run(logdir, {"kill_after": moments.uniform(0, 0.4)}, **long)
            assert code == -signal.SIGKILL
            there = steps(logdir)  # none where the first kill came before the first checkpoint
            assert max(there, default=0) >= reached, "nothing that was committed is lost"
            reached = max(there, default=0)
            for step in there:
                saved_state(logdir, step)  # verifies it
        code, out, *_ = run(logdir, **long)
        assert code == 0
        assert not reached or f"at {reached:,} iterations" in out
        assert saved_state(logdir) == saved_state(tmp_path / "whole")
    outcome("SIGKILL while saving or training", "what came after the last checkpoint", "nothing")


def test_two_processes_on_one_directory(start, run, tmp_path, outcome):
    logdir = tmp_path / "run"
    first = start(logdir, iterations=10**9)
    try:
        while not (logdir / "lock").exists() or not (logdir / "lock").read_text():
            assert first.poll() is None
        code, _, last, _ = run(logdir, iterations=10**9)
        assert code == 2
        assert f"process {first.pid} on" in last
    finally:
        first.kill()
        first.communicate()
    assert run(logdir)[0] == 0, "a lock whose process is gone holds nobody up"
    outcome("a second process starts in the same directory", "nothing", last)


def test_standard_output_is_closed(start, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    process = start(logdir)
    process.stdout.close()
    assert process.wait(timeout=300) == 0, process.stderr.read()
    process.stderr.close()
    assert saved_state(logdir) == saved_state(whole)
    outcome("standard output is closed, as by `head`", "nothing", "nothing")
