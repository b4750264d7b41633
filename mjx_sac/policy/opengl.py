"""Which of MuJoCo's ways to OpenGL works here, without a screen. It must be chosen before `mujoco` is imported."""

import functools
import os
import subprocess
import sys

BACKENDS = ("egl", "osmesa")
"""In the order they are tried: a GPU's, or Mesa's behind the same library, and one that needs no driver at all."""

WAY_OUT = "install libegl1 or libosmesa6, set MUJOCO_GL to egl or osmesa; or record an .html, which needs no OpenGL"

_TRIAL = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data, renderer = mujoco.MjData(model), mujoco.Renderer(model, 8, 8)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
assert renderer.render().any()
"""


@functools.cache
def problem(backend: str) -> str | None:
    """Why MuJoCo cannot draw a sphere with `backend`, by trying it in a process of its own; None if it can."""
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | {
        "MUJOCO_GL": backend
    }
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "no answer within a minute"
    errors = [line for line in trial.stderr.splitlines() if line[:1].isalpha() and "Error" in line]
    return None if trial.returncode == 0 else (errors or ["the process died"])[0]


def choose() -> str | None:
    """Sets `MUJOCO_GL` to the first that works, unless the user has set it or the system needs none.

    Returns:
      None, or what is wrong with every one.
    """
    if sys.platform != "linux" or "mujoco" in sys.modules:
        return None
    given = os.environ.get("MUJOCO_GL", "")
    reasons: list[str] = []
    for backend in (given,) if given else BACKENDS:
        reason = problem(backend)
        if reason is None:
            os.environ["MUJOCO_GL"] = backend
            return None
        reasons.append(f"{backend}: {reason}")
    return "; ".join(reasons)
