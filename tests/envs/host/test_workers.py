"""Environments here and in worker processes: what they do, who failed, and that all of them end."""

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
from helpers.gymnasium_envs import Chancy, Parts, Walk, in_worker, walk

from mjx_sac.config import Config
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.host.protocol import BrokenEnvironmentError
from mjx_sac.runs.directory import steps

TESTS = pathlib.Path(__file__).parents[2]
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
ASYNC = Config(vectorization="async")


@pytest.mark.parametrize(
    ("ends_at", "limit", "steps", "flags"),
    [(5, 1000, [3, 2], "T"), (1000, 4, [3, 1], "C"), (1000, 6, [3, 3], "C")],
    ids=["terminates within a repeat", "is cut within a repeat", "is cut at the end of one"],
)
def test_an_action_is_held_until_the_episode_ends(ends_at, limit, steps, flags):
    """As on the device: no step is taken beyond the limit."""
    made = []

    def make():
        made.append(Walk(ends_at=ends_at))
        return made[-1]

    simulator = GymnasiumEnvironment("walk", make, Config(action_repeat=3)).simulator(1, limit)
    simulator.reset(0)
    first, last = (simulator.step(np.zeros((1, 1), np.float32)) for _ in range(2))
    assert [int(first.steps[0]), int(last.steps[0])] == steps
    assert [float(first.reward[0]), float(last.reward[0])] == [0 + 1 + 2, sum(range(3, sum(steps)))]
    assert not first.terminated[0]
    assert not first.truncated[0]
    assert (bool(last.terminated[0]), bool(last.truncated[0])) == (flags == "T", flags == "C")
    assert made[1].total == sum(steps)
    assert last.observation.tolist() == [[0, sum(steps)]]
    assert last.current.tolist() == [[1, 0]]


def test_an_observation_is_not_rounded_to_its_space():
    class Loose(Parts):
        def _observation(self):
            return {"a": [7.5], "b": ([[0, 1], [2, 3]], 9)}

    simulator = GymnasiumEnvironment("loose", Loose).simulator(2, 1000)
    assert simulator.reset(0).tolist() == [[7.5, 0, 1, 2, 3, 9]] * 2


@pytest.fixture
def start():
    """Start real processes, each the leader of a process group, as a terminal makes it."""
    started = []

    def run(code):
        imports = "import os, signal, sys, time; import numpy as np"
        code = f"{imports}\nfrom helpers.gymnasium_envs import *\n{code}"
        command = [sys.executable, "-c", code]
        started.append(subprocess.Popen(command, cwd=TESTS, start_new_session=True, **PIPES))
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def workers(parent):
    command = ["ps", "-o", "pid=", "--ppid", str(parent)]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    return [int(pid) for pid in out.split()]


def alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return "Z" not in stat.rpartition(")")[2].split()[0]


def assert_gone(pids):
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker is still alive"
        time.sleep(0.1)


def error_of(simulator):
    """Return the message of what breaks at the reset or the first step."""
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
def test_a_worker_that_ends_is_named(fault):
    error = error_of(walk("async", fault=in_worker(1, fault), at=(1,)).simulator(2, 1000))
    assert error.startswith("environment 1")
    assert "its process has ended (exit code 7)" in error or "raised SystemExit: 7" in error


def only_here():
    if multiprocessing.parent_process():
        raise ValueError("not in a worker")
    return Walk()


def test_an_environment_that_cannot_be_made_is_named():
    error = error_of(GymnasiumEnvironment("walk", only_here, ASYNC).simulator(2, 1000))
    assert error.startswith("environment ")
    assert error.endswith(", at its step 0, raised ValueError: not in a worker")
    made = iter([Walk(), Walk()])  # one that shows its spaces, and the first
    error = error_of(GymnasiumEnvironment("walk", lambda: next(made)).simulator(2, 1000))
    assert error == "environment 1, at its step 0, raised StopIteration: "


def test_an_environment_with_other_spaces_is_named():
    wide = type("Wide", (Walk,), {"action_space": Walk.observation_space})
    made = iter([Walk(), Walk(), wide()])
    error = error_of(GymnasiumEnvironment("walk", lambda: next(made)).simulator(2, 1000))
    assert error.startswith("environment 1, at its step 0, raised ValueError: its spaces differ")


def test_workers_survive_a_terminals_signals_from_the_start(start):
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
    out, err = process.communicate(timeout=60)
    assert out == "[[0.0, 0.0], [0.0, 0.0]]\n[[0.0, 1.0], [0.0, 1.0]]\n"
    assert err == ""


@pytest.mark.parametrize("fault", ["hang", "hang_holding_the_lock"])
def test_a_hanging_worker_does_not_outlive_a_killed_trainer(fault, start):
    process = start(f"""
simulator = walk("async", fault={fault}, at=(2,)).simulator(2, 1000)
simulator.reset(0)
print("ready", flush=True)
for _ in range(2):
    simulator.step(np.zeros((2, 1), np.float32))
""")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # they hang
    children = workers(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()  # not for the end of its output, which a surviving worker would keep open
    assert_gone(children)


@pytest.mark.parametrize(
    ("vectorization", "fault", "who"),
    [("async", "in_worker(1, hang)", 1), ("sync", "hang", 0)],
)
def test_an_environment_that_never_answers_ends_the_run(vectorization, fault, who, start):
    process = start(f"""
import jax, jax.numpy as jnp
from mjx_sac.config import Config
from mjx_sac.envs.host.callbacks import HostEpisodes
episodes = HostEpisodes(walk("{vectorization}", fault={fault}, at=(2,)), 2, Config())
state = episodes.refill(episodes.init(), jax.random.PRNGKey(0))
print("ready", flush=True)
episodes.thread.timeout = 0.5
try:
    for _ in range(2):
        state, _ = jax.block_until_ready(episodes.step(state, jnp.zeros((2, 1))))
except jax.errors.JaxRuntimeError:
    print(episodes.failure)
episodes.close()
""")
    assert process.stdout.readline() == "ready\n"
    children = workers(process.pid)
    out, err = process.communicate(timeout=20)
    assert out.startswith(f"env: environment {who} gave no answer within env_timeout = 0.5 seconds")
    assert err == ""
    assert process.returncode == 0
    assert_gone(children)


def asked(seed):
    """Return what an environment that draws from everything there is returns in two processes."""
    simulator = walk("async", kind=Chancy).simulator(2, 1000)
    first = simulator.reset(seed)
    second = simulator.step(np.zeros((2, 1), np.float32)).observation
    simulator.close()
    return np.concatenate([first, second])


def test_workers_draw_the_same_from_every_source():
    one, two, other = asked(3), asked(3), asked(7)
    np.testing.assert_array_equal(one, two)
    assert (one != other).all()
    assert len(np.unique(one)) == one.size, "environments and steps differ"


@pytest.mark.parametrize("way", ["closed", "killed", "hangs"])
def test_programs_of_environments_end_with_the_trainer(way, tmp_path, start):
    """And do not keep its output open, for which `train | tail` would wait."""
    process = start(f"""
fault = {"in_worker(0, hang_holding_the_lock)" if way == "hangs" else None}
env = walk("async", kind=Owner, folder={str(tmp_path)!r}, fault=fault, at=(1,))
simulator = env.simulator(1, 9)
simulator.reset(0)
print("ready", flush=True)
if {way == "killed"}:
    os.kill(os.getpid(), signal.SIGKILL)
if {way == "hangs"}:
    import threading
    threading.excepthook = lambda *_: None
    threading.Thread(target=simulator.step, args=(np.zeros((1, 1)),), daemon=True).start()
    time.sleep(0.5)
    simulator.kill()
else:
    simulator.close()
""")
    out, err = process.communicate(timeout=20)
    assert out == "ready\n"
    assert "Traceback" not in err
    assert_gone([int((tmp_path / "program").read_text())])
    assert (tmp_path / "closed").exists() == (way == "closed")


def test_workers_that_hang_as_they_close_are_killed(caplog):
    class Stuck(Walk):
        def close(self):
            if multiprocessing.parent_process():
                time.sleep(1000)

    simulator = walk("async", kind=Stuck).simulator(2, 1000)
    simulator.reset(0)
    children = multiprocessing.active_children()
    began = time.monotonic()
    simulator.close()
    assert time.monotonic() - began < 6, "one deadline for all"
    assert "environment 0, 1 had not closed after 3 seconds" in caplog.text
    assert_gone([child.pid for child in children])


def test_a_script_without_a_main_guard_gets_one_line(tmp_path, start):
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, sys
import numpy as np
from helpers.gymnasium_envs import walk
from mjx_sac.config import Config, UsageError
if multiprocessing.parent_process():
    from mjx_sac.training.host.train import train
    train(Config(env="nothing"))  # which the script, started again, would run
try:
    walk("async").simulator(2, 1000).reset(0)
except UsageError as error:
    print(error)
""")
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert done.stdout.startswith("vectorization = 'async': every worker begins to run your script")
    assert "__name__ == '__main__'" in done.stdout
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_too_many_workers_for_the_system_end_with_the_trainer(start):
    process = start("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
walk("async").simulator(30, 1000)
""")
    _, err = process.communicate(timeout=30)
    assert "Too many open files" in err


SIZES = {
    "num_envs": 2,
    "batch_size": 8,
    "buffer_size": 64,
    "hidden_sizes": 8,
    "warm_up_steps": 32,
    "log_interval": 32,
    "checkpoint_interval": 32,
    "episodes_per_eval": 0,
    "iterations": 100_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_train_and_never_outlive_the_trainer(tmp_path, number):
    """Killed without a chance to tidy up, or by a Ctrl-C, which a terminal sends to all."""
    flags = [f"--{name}={value}" for name, value in SIZES.items()]
    flags += ["--env=helpers.gymnasium_envs:Walk", "--vectorization=async"]
    command = [sys.executable, "-m", "mjx_sac", "train", *flags, f"--logdir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, cwd=TESTS, start_new_session=True, **PIPES)
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
        assert err.startswith("mjx-sac: interrupted;")
        assert len(err.splitlines()) == 1
    assert_gone(children)
