"""Environments on the host inside a compiled program: time limit, shapes, the CPU they need."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gymnasium_envs import Walk, walk

from mjx_sac.config import Config, TrainingError, UsageError
from mjx_sac.envs.host import callbacks
from mjx_sac.envs.host.callbacks import HostEpisodes
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment

TESTS = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("asked", "own", "limit"),
    [(None, 1600, 1600), (None, None, 1000), (50, 1600, 50), (2000, 1600, 1600), (50, None, 50)],
)
def test_the_shorter_of_both_time_limits_counts(asked, own, limit):
    env = walk()
    env.time_limit = own
    assert HostEpisodes(env, 1, Config(episode_length=asked)).episode_length == limit


USED = """
from helpers.gymnasium_envs import walk
from mjx_sac.config import Config
from mjx_sac.envs.host.callbacks import HostEpisodes
HostEpisodes(walk(), 1, Config())
"""


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (["-m", "mjx_sac", "train", "--env", "Pendulum-v1", "--logdir", os.devnull + "x"], 2),
        (["-c", USED], 1),
    ],
    ids=["trained", "used"],
)
def test_a_gpu_alone_is_refused_in_one_line(command, exit_code):
    """In a new process: JAX reads the variable once. It need not find a GPU to lack a CPU."""
    env = {**os.environ, "JAX_PLATFORMS": "cuda"}
    command = [sys.executable, *command]
    result = subprocess.run(command, cwd=TESTS, env=env, capture_output=True, text=True)
    *before, line = result.stderr.splitlines()
    assert "JAX_PLATFORMS = 'cuda'" in line
    assert result.returncode == exit_code, result.stderr
    if exit_code == 2:
        assert before == []
    else:
        assert "set it to cuda,cpu" in line


def test_what_the_host_returns_must_have_the_agreed_shape():
    """NumPy would stretch one number over the program's memory of all environments."""
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    call = jax.jit(lambda x: callbacks.call(lambda x: x[:1], shape, x))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"returned shape \(1,\), not \(2,\)"):
        jax.block_until_ready(call(jnp.zeros(2)))


def begun(make, num_envs=2, **config):
    """Return episodes that have begun, as a compiled program would have them begin."""
    env = GymnasiumEnvironment("walk", make, Config(**config))
    episodes = HostEpisodes(env, num_envs, Config(**config))
    episodes.thread.begin(np.zeros(2, np.uint32), np.bool_(True))
    return episodes


def sleeps(seconds):
    """Return what makes environments, each of which takes so long to start."""
    waits = iter([0, *seconds])  # the first shows its spaces
    return lambda: time.sleep(next(waits)) or Walk()


def test_each_environment_has_its_own_time_to_start():
    begun(sleeps([0.3] * 4), 4, env_timeout=0.1, env_start_timeout=0.8).close()
    with pytest.raises(TrainingError) as error:
        begun(sleeps([0, 0, 1000]), 4, env_start_timeout=0.4)
    line = "env: environment 2 did not start within env_start_timeout = 0.4 seconds"
    assert str(error.value).startswith(line)


def test_each_environment_has_its_own_time_to_answer():
    def late(observation, reward):
        time.sleep(0.3)
        return observation, reward

    episodes = begun(lambda: Walk(fault=late, at=(2,)), 4, env_timeout=0.8)
    for _ in range(2):
        episodes.thread.send(np.zeros((4, 1), np.float32))
        assert episodes.thread.receive().finite.all()


class Closing(Walk):
    """Writes down in which thread its methods are called."""

    called = ()

    def step(self, action):
        Closing.called = (threading.get_ident(),)
        return super().step(action)

    def close(self):
        Closing.called += (threading.get_ident(),)
        raise OSError("still\nopen")


def test_environments_close_in_the_thread_that_stepped_them(caplog):
    episodes = begun(Closing, 2)
    episodes.thread.send(np.zeros((2, 1), np.float32))
    episodes.thread.receive()
    caplog.clear()
    episodes.close()
    stepped, *closed = Closing.called
    assert closed == [stepped] * 2 != [threading.get_ident()] * 2
    first, second = caplog.messages
    assert first == "mjx-sac: warning: environment 0 could not be closed: OSError: still open"
    assert second.startswith("mjx-sac: warning: environment 1")


@pytest.mark.parametrize("where", ["step", "close"])
def test_what_hangs_is_left_behind(where, monkeypatch, caplog):
    monkeypatch.setattr(callbacks, "CLOSING", 0.2)
    made = []

    def hang(self, *_):
        if self is not made[0]:  # the one that shows its spaces
            time.sleep(1000)

    kind = type("Stuck", (Walk,), {where: hang} if where == "close" else {})
    episodes = begun(lambda: made.append(kind()) or made[-1], 2)
    if where == "step":
        made[1].step = lambda action: time.sleep(1000)
        episodes.thread.send(np.zeros((2, 1), np.float32))
    episodes.close()
    assert "environment 0 had not closed after 0.2 seconds" in caplog.text


def test_a_users_mistake_stays_one():
    """One object for all is found when the environments are made."""
    one = Walk()
    env = GymnasiumEnvironment("one", lambda: one)
    episodes = HostEpisodes(env, 2, Config())
    with pytest.raises(UsageError, match="one object again and again"):
        episodes.thread.begin(np.zeros(2, np.uint32), np.bool_(True))
    assert isinstance(episodes.failure, UsageError)


def test_jax_logs_every_traceback_but_ours(caplog):
    """`io_callback`, which accelerators use, logs what a function raises."""

    def called(error):
        def fail():
            raise error("once")

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        call = jax.jit(lambda: jax.experimental.io_callback(fail, shape))
        with pytest.raises(jax.errors.JaxRuntimeError):
            jax.block_until_ready(call())
        return "io_callback failed" in caplog.text

    assert not called(TrainingError)
    assert called(ValueError)
