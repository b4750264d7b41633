"""Where environments come from: names, adapters, and the registry. Importing it does not import JAX."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mjx_sac.config import UsageError, nearest

if TYPE_CHECKING:
    from mjx_sac.envs.base import Environment

_registry: dict[str, Callable[[], "Environment"]] = {}

_BRAX_NAMES = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)
"""Brax's registry, written down so that a misspelt name is found before JAX is imported. A test compares the two."""


def register(name: str, factory: Callable[[], "Environment"]) -> None:
    """Makes `--env name` (and `Config(env=name)`) mean `factory()`; a later registration replaces an earlier one."""
    _registry[name] = factory


def names() -> list[str]:
    """Every registered name, Brax's first."""
    return [*_BRAX_NAMES, *_registry]


def check(name: str) -> None:
    """Refuses a name that cannot be an environment, without importing JAX.

    Raises:
      UsageError: one line with the way out.
    """
    if name == "swimmer":  # it needs the generalized engine's fluid forces, which call jnp.clip with a name JAX dropped
        raise UsageError("env = 'swimmer': Brax 0.14.2 has no MJX version of it, and its own does not run on JAX 0.10 and newer")
    if name in _registry or name in _BRAX_NAMES:
        return
    if name.startswith("playground/"):
        if importlib.util.find_spec("mujoco_playground") is None:
            raise UsageError(f"env = {name!r}: needs MuJoCo Playground: install mjx-sac[playground]")
    elif ":" in name:
        _check_module(name)
    elif gym := re.fullmatch(r"(?:gym/)?(\w+)-v\d+", name):
        ours = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", gym[1]).lower()
        ours = next((known for known in names() if known.replace("_", "") == ours.replace("_", "")), None)
        instead = f"use --env {ours}" if ours else f"use one of {', '.join(names())}"
        raise UsageError(f"env = {name!r} is an id of gym, whose environments run outside JAX: {instead}")
    else:
        hint = nearest(name, names()) or f"; known are {', '.join(names())}, playground/<Name>, package.module:factory"
        raise UsageError(f"env = {name!r}: no such environment{hint}")


def _check_module(name: str) -> None:
    """A module of the user's may lie in the directory the command was started in."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    module = name.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UsageError(f"env = {name!r}: no module named {module!r}; package.module:factory must be importable")


def make(name: str, backend: str = "mjx") -> "Environment":
    """The environment called `name`.

    Raises:
      UsageError: there is none, or the user's factory failed or returned something else.
    """
    check(name)
    if name in _registry:
        return _adapt(name, _registry[name]())
    if name.startswith("playground/"):
        from mjx_sac.envs import playground

        return playground.make(name.partition("/")[2])
    if ":" in name:
        return _adapt(name, _call_factory(name))
    from mjx_sac.envs import brax

    return brax.make(name, backend)


def _call_factory(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise UsageError(f"env = {name!r}: {type(error).__name__}: {error}") from error


def _adapt(name: str, env: Any) -> "Environment":
    """Ours as it is; Brax's and Playground's through the adapter."""
    from mjx_sac.envs.base import Environment
    from mjx_sac.envs.brax import BraxEnvironment

    # Asked of the type: Brax's `observation_size` is a property that would run a reset, operation by operation.
    if all(hasattr(type(env), attribute) for attribute in ("unwrapped", "observation_size", "action_size")):
        return BraxEnvironment(env)
    if not isinstance(env, Environment):
        raise UsageError(
            f"env = {name!r}: {type(env).__name__} is no environment: it needs observation_size, action_size, reset, step"
        )
    return env
