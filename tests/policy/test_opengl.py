"""A way to OpenGL is chosen before MuJoCo is imported, in processes in which it is not."""

import os
import subprocess
import sys

import pytest

from mjx_sac.policy import opengl

CHOOSE = """
import os
from mjx_sac.policy import opengl
print(opengl.choose(), os.environ.get("MUJOCO_GL"), sep="|")
"""


def choose(given):
    """The reason there is none, and MUJOCO_GL afterwards."""
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    environment |= {"MUJOCO_GL": given} if given else {}
    command = [sys.executable, "-c", CHOOSE]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip().split("|")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no choice")
def test_the_first_that_works_is_chosen():
    problems = {backend: opengl.problem(backend) for backend in opengl.BACKENDS}
    working = [backend for backend, problem in problems.items() if problem is None]
    if working:
        assert choose(None) == ["None", working[0]]
    else:
        reason = "; ".join(f"{backend}: {problem}" for backend, problem in problems.items())
        assert choose(None) == [reason, "None"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no choice")
def test_what_the_user_chose_stays():
    reason, chosen = choose("nonsense")
    assert reason.startswith("nonsense: ")
    assert "MUJOCO_GL" in reason
    assert chosen == "nonsense"


def test_after_mujoco_there_is_nothing_to_choose():
    import mujoco

    assert mujoco
    assert opengl.choose() is None
