"""MJX is imported without Warp, in processes that make no use of it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from mjx_sac import envs
from mjx_sac.config import Config, UsageError

envs.make("inverted_pendulum")
assert "mujoco.mjx" in sys.modules and "warp" not in sys.modules
import warp  # can be imported as ever
try:
    envs.make("mjx/InvertedPendulum-v5", Config(env="mjx/InvertedPendulum-v5", impl="warp"))
except UsageError as error:
    print(error)
"""


def test_warp_is_left_out_and_asking_for_it_later_says_so():
    pytest.importorskip("warp")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "impl = 'warp': this process has imported MJX without Warp: begin it with "
        "`import mujoco.mjx`"
    )
