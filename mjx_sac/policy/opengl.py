"""Choose a way to OpenGL without a screen. MuJoCo reads the choice when it is imported."""

import functools
import os
import subprocess
import sys

BACKENDS = ("egl", "osmesa")
"""In the order they are tried: a GPU's (or Mesa's, by the same library); one without a driver."""

WAY_OUT = (
    "install libegl1 or libosmesa6, set MUJOCO_GL to egl or osmesa; or record an .html, which "
    "needs no OpenGL"
)

_TRIAL = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data, renderer = mujoco.MjData(model), mujoco.Renderer(model, 8, 8)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
if not renderer.render().any():
    raise RuntimeError("nothing is drawn")
"""


@functools.cache
def problem(backend: str) -> str | None:
    """Return why MuJoCo cannot draw a sphere with `backend`, tried in a process; None if it can."""
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"}
    environment["MUJOCO_GL"] = backend
    command = [sys.executable, "-c", _TRIAL]
    try:
        trial = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer within a minute"
    errors = [line for line in trial.stderr.splitlines() if line[:1].isalpha() and "Error" in line]
    return None if trial.returncode == 0 else (errors or ["the process died"])[0]


def choose() -> str | None:
    """Set `MUJOCO_GL`, unless it is set, to the first backend that works; else return why none."""
    if sys.platform != "linux" or "mujoco" in sys.modules:
        return None
    given = os.environ.get("MUJOCO_GL")
    backends = (given,) if given else BACKENDS
    for backend in backends:
        if problem(backend) is None:
            os.environ["MUJOCO_GL"] = backend
            return None
    return "; ".join(f"{backend}: {problem(backend)}" for backend in backends)
