"""Environments on the host inside a compiled program: time limit, shapes, the CPU they need."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from helpers.gymnasium_envs import walk

from mjx_sac.config import Config
from mjx_sac.envs.host import callbacks
from mjx_sac.envs.host.callbacks import HostEpisodes

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
