"""MJX is imported without Warp, in processes of the command that make no use of it."""

import subprocess
import sys

import pytest

COMMAND = """
import sys
from mjx_sac import envs
from mjx_sac.config import Config, UsageError, surroundings

with surroundings.own_process():
    envs.make("inverted_pendulum")
    assert "mujoco.mjx" in sys.modules and "warp" not in sys.modules
    import warp  # can be imported as ever
    try:
        envs.make("mjx/InvertedPendulum-v5", Config(env="mjx/InvertedPendulum-v5", impl="warp"))
    except UsageError as error:
        print(error)
"""
PROGRAM = """
import sys
from mjx_sac import envs

envs.make("inverted_pendulum")
assert sys.modules["mujoco.mjx.warp"].WARP_INSTALLED
"""


def run(program):
    pytest.importorskip("warp")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_warp_is_left_out_and_asking_for_it_later_says_so():
    assert run(COMMAND).splitlines()[-1] == (
        "impl = 'warp': this process has imported MJX without Warp: begin it with "
        "`import mujoco.mjx`"
    )


def test_a_program_that_calls_us_finds_warp_as_it_was():
    run(PROGRAM)
