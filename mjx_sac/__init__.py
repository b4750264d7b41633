"""Soft actor-critic with environment, replay buffer and updates in one compiled JAX epoch.

import mjx_sac

result = mjx_sac.train(mjx_sac.resolve({"env": "ant", "iterations": 200_000}))
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mjx_sac.config import Config as Config
    from mjx_sac.config import TrainingError as TrainingError
    from mjx_sac.config import UsageError as UsageError
    from mjx_sac.envs import register as register
    from mjx_sac.losses import Losses as Losses
    from mjx_sac.policy.evaluate import evaluate_policy as evaluate_policy
    from mjx_sac.policy.export import export_policy as export_policy
    from mjx_sac.policy.policy import Policy as Policy
    from mjx_sac.policy.policy import load_policy as load_policy
    from mjx_sac.runs.resolve import resolve as resolve
    from mjx_sac.training.host.loop import Result as Result
    from mjx_sac.training.host.train import train as train

__version__ = "0.1.0"
_MODULES = {
    "Config": "config",
    "TrainingError": "config",
    "UsageError": "config",
    "register": "envs",
    "Losses": "losses",
    "evaluate_policy": "policy.evaluate",
    "export_policy": "policy.export",
    "Policy": "policy.policy",
    "load_policy": "policy.policy",
    "resolve": "runs.resolve",
    "Result": "training.host.loop",
    "train": "training.host.train",
}


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]


def __getattr__(name: str) -> Any:
    """Import public names on first use: `mjx-sac --help` must answer without importing JAX."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mjx_sac' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mjx_sac.{_MODULES[name]}"), name)


if "gymnasium" in sys.modules:  # which reads no entry points: names are registered by an import
    from mjx_sac.envs.registry import register_with_gymnasium

    register_with_gymnasium()
