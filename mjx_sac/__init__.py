"""Soft actor-critic with environment, replay buffer and gradient steps in one compiled JAX epoch.

import mjx_sac

result = mjx_sac.train(mjx_sac.resolve({"env": "ant", "iterations": 200_000}))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mjx_sac.api import Result, train
    from mjx_sac.config import Config, TrainingError, UsageError
    from mjx_sac.deploy import export_policy
    from mjx_sac.envs import register
    from mjx_sac.evaluation import evaluate_policy
    from mjx_sac.losses import Losses
    from mjx_sac.policy import Policy, load_policy
    from mjx_sac.rundir import resolve

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Losses",
    "Policy",
    "Result",
    "TrainingError",
    "UsageError",
    "evaluate_policy",
    "export_policy",
    "load_policy",
    "register",
    "resolve",
    "train",
]

_HOMES = {
    "Config": "config",
    "UsageError": "config",
    "Losses": "losses",
    "Policy": "policy",
    "load_policy": "policy",
    "Result": "api",
    "TrainingError": "config",
    "train": "api",
    "evaluate_policy": "evaluation",
    "export_policy": "deploy",
    "register": "envs",
    "resolve": "rundir",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: the command line must answer `--help` without importing JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mjx_sac' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"mjx_sac.{_HOMES[name]}"), name)


def _tell_gymnasium() -> None:
    """`gymnasium.make("mjx_sac/ant")` works once this package is imported."""
    from mjx_sac.envs import export, names

    export.register([name for name in names() if name not in ("fast", "swimmer")])  # a test's, and one that does not run


_tell_gymnasium()
