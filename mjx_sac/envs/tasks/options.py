"""The tasks' names and sizes, and the arguments of Gymnasium's constructors as options."""

# pyright: basic, reportAttributeAccessIssue=false
import inspect
from collections.abc import Mapping
from typing import Any

from mjx_sac.config import UsageError, nearest
from mjx_sac.envs import options

SIZES = {
    "Ant-v5": (105, 8),
    "HalfCheetah-v5": (17, 6),
    "Hopper-v5": (11, 3),
    "Humanoid-v5": (348, 17),
    "HumanoidStandup-v5": (348, 17),
    "InvertedDoublePendulum-v5": (9, 1),
    "InvertedPendulum-v5": (4, 1),
    "Pusher-v5": (23, 7),
    "Reacher-v5": (10, 2),
    "Swimmer-v5": (8, 2),
    "Walker2d-v5": (17, 6),
}
"""Numbers of an observation and of an action, by name."""

SOLVERS = ("exact", "fast")
"""Values of our own option `solver`: as Gymnasium's model says, or fewer iterations."""


def constructor(name: str) -> Any:
    """Return Gymnasium's class of a task."""
    import gymnasium

    return gymnasium.envs.registration.load_env_creator(gymnasium.spec(name).entry_point)


def check(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a task, defaults included.

    Raises:
      UsageError: there is no such task or option, or an option's value is of another type.
    """
    if name not in SIZES:
        near = nearest(name, [*SIZES]).replace("mean ", "mean mjx/")
        hint = near or f"; known are {', '.join(SIZES)}"
        raise UsageError(f"env = 'mjx/{name}': no such task{hint}")
    made = constructor(name)
    own, base = (inspect.signature(x.__init__).parameters for x in (made, made.__base__))
    # What the base class has a default for leaves the task as it is.
    drawing = {k for k, x in base.items() if x.default is not x.empty}
    if wrong := [key for key in given if key in drawing]:
        problem = "only changes how Gymnasium draws: leave it out"
        raise UsageError(f"env_option = {wrong[0]!r}: {problem}")
    defaults = {
        # Some numbers have a whole one as their default.
        k: float(x.default) if x.annotation is float else x.default
        for k, x in own.items()
        if x.default is not x.empty and k not in drawing
    }
    defaults["solver"] = SOLVERS[0]
    if isinstance(given.get("main_body"), str) and "main_body" in defaults:
        defaults["main_body"] = "torso"  # a name or a number
    values = defaults | options.fit(f"mjx/{name}", given, defaults)
    if values["solver"] not in SOLVERS:
        raise UsageError(f"env_option = 'solver': {values['solver']!r}: give exact or fast")
    return values
