"""Environments in processes of their own: who failed is told, and none of them outlives the trainer or keeps it from ending."""

import contextlib
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.gymnasium_envs import Walk, in_worker, walk

from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.host.protocol import BrokenEnvironmentError
from mjx_sac.runs.directory import steps

HERE = pathlib.Path(__file__).parents[2]
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.fixture
def start():
    """Starts real processes, each the leader of its own group as a terminal makes it. Nothing of them is left afterwards."""
    started = []

    def run(code):
        code = (
            "import os, signal, sys, time; import numpy as np; from helpers.gymnasium_envs import *\n"
            + code
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=HERE, start_new_session=True, **PIPES
            )
        )
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def workers(parent):
    out = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True
    ).stdout
    return [int(pid) for pid in out.split()]


def alive(pid):
    try:
        return (
            "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        )
    except OSError:
        return False


def assert_gone(pids):
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.1)


def step_until_broken(simulator):
    try:
        simulator.reset(0)
        simulator.step(np.zeros((2, 1), np.float32))
    except BrokenEnvironmentError as error:
        return str(error)
    finally:
        simulator.close()


@pytest.mark.parametrize(
    "fault", [lambda o, r: os._exit(7), lambda o, r: sys.exit(7)], ids=["dies", "exits"]
)
def test_a_worker_that_ends_is_told_with_its_number(fault):
    told = step_until_broken(walk("async", fault=in_worker(1, fault), at=(1,)).simulator(2, 1000))
    assert told.startswith("environment 1")
    assert ("its process has ended (exit code 7)" in told) or (
        "at its step 1, raised SystemExit: 7" in told
    )


def only_here():
    if multiprocessing.parent_process():
        raise ValueError("not in a worker")
    return Walk()


def test_an_environment_that_cannot_be_made_is_told_with_its_number():
    told = step_until_broken(
        GymnasiumEnvironment("walk", only_here, vectorization="async").simulator(2, 1000)
    )
    assert told in {
        f"environment {i}, at its step 0, raised ValueError: not in a worker" for i in range(2)
    }
    made = iter([Walk(), Walk()])  # one that shows its spaces, and the first
    told = step_until_broken(GymnasiumEnvironment("walk", lambda: next(made)).simulator(2, 1000))
    assert told == "environment 1, at its step 0, raised StopIteration: "


def test_an_environment_with_other_spaces_than_the_first_is_told_with_its_number():
    made = iter([Walk(), Walk(), type("Wide", (Walk,), {"action_space": Walk.observation_space})()])
    told = step_until_broken(GymnasiumEnvironment("walk", lambda: next(made)).simulator(2, 1000))
    assert told.startswith("environment 1, at its step 0, raised ValueError: its spaces differ")


def test_workers_live_through_a_terminals_signals_from_their_first_moment(start):
    process = start("""
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
simulator = walk("async").simulator(2, 1000)
for _ in range(60):
    os.killpg(0, signal.SIGINT)
    os.killpg(0, signal.SIGTERM)
    time.sleep(0.05)
print(simulator.reset(0).tolist())
os.killpg(0, signal.SIGINT)
print(simulator.step(np.zeros((2, 1), np.float32)).observation.tolist())
simulator.close()
""")
    assert process.communicate(timeout=60) == (
        "[[0.0, 0.0], [0.0, 0.0]]\n[[0.0, 1.0], [0.0, 1.0]]\n",
        "",
    )


@pytest.mark.parametrize("fault", ["hang", "hang_holding_the_lock"])
def test_a_worker_that_hangs_does_not_outlive_a_trainer_that_is_killed(fault, start):
    process = start(f"""
simulator = walk("async", fault={fault}, at=(1,)).simulator(2, 1000)
simulator.reset(0)
print("ready", flush=True)
simulator.step(np.zeros((2, 1), np.float32))
""")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # they hang
    children = workers(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()  # not for the end of its output, which a worker that lives on would keep open
    assert_gone(children)


@pytest.mark.parametrize(
    ("vectorization", "fault", "who"),
    [("async", "in_worker(1, hang)", 1), ("sync", "hang", 0)],
)
def test_an_environment_that_never_answers_is_told_and_does_not_keep_the_trainer_from_ending(
    vectorization, fault, who, start
):
    process = start(f"""
import jax, jax.numpy as jnp
from mjx_sac.envs.host import HostEpisodes
episodes = HostEpisodes(walk("{vectorization}", fault={fault}, at=(1,)), 2, None, 1, 60.0)
state = episodes.refill(episodes.init(), jax.random.PRNGKey(0))
print("ready", flush=True)
episodes._host._timeout = 0.5
try:
    jax.block_until_ready(episodes.step(state, jnp.zeros((2, 1))))
except jax.errors.JaxRuntimeError:
    print(episodes.failure)
episodes.close()
""")
    assert process.stdout.readline() == "ready\n"
    children = workers(process.pid)
    out, err = process.communicate(timeout=20)
    assert out.startswith(
        f"env: environment {who} gave no answer within env_timeout = 0.5 seconds (vector step 0);"
    )
    assert err == ""
    assert process.returncode == 0
    assert_gone(children)


def test_too_many_workers_for_the_system_end_with_the_trainer(start):
    process = start("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
walk("async").simulator(30, 1000)
""")
    _, err = process.communicate(timeout=30)
    assert "Too many open files" in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_async_workers_train_and_never_outlive_the_trainer(tmp_path, number):
    """A real process, killed without a chance to tidy up, or by a Ctrl-C, which a terminal sends to its workers as well."""
    flags = [
        "--num_envs=2",
        "--batch_size=8",
        "--buffer_size=64",
        "--hidden_sizes=8",
        "--warm_up_steps=32",
        "--log_interval=32",
    ]
    flags += [
        "--checkpoint_interval=32",
        "--episodes_per_eval=0",
        "--vectorization=async",
        f"--logdir={tmp_path / 'run'}",
    ]
    command = [
        sys.executable,
        "-m",
        "mjx_sac",
        "train",
        "--env=helpers.gymnasium_envs:Walk",
        *flags,
        "--iterations=100_000_000",
    ]
    process = subprocess.Popen(command, cwd=HERE, start_new_session=True, **PIPES)
    deadline = time.monotonic() + 240
    while max(steps(tmp_path / "run"), default=0) < 64:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = workers(process.pid)
    assert len(children) >= 2
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    _, err = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "mjx-sac: interrupted; the same command goes on from the newest checkpoint\n"
    assert_gone(children)
