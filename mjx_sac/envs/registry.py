"""Where environments come from: names, adapters, and the registry. Importing it does not import JAX."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mjx_sac.config import EPISODE_LENGTH, Config, UsageError, nearest

if TYPE_CHECKING:
    from mjx_sac.envs.base import Environment
    from mjx_sac.envs.host.protocol import HostEnvironment

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


def registered() -> list[str]:
    """What `register` was given, by this program or by a module it imported."""
    return [*_registry]


def register_with_gymnasium() -> None:
    """Make `gymnasium.make("mjx_sac/ant")` work: Gymnasium's entry point, called at its import."""
    from gymnasium.envs import registration

    for name in _BRAX_NAMES:
        if name not in ("fast", "swimmer"):  # a test's, and one that does not run
            registration.register(
                f"mjx_sac/{name}",
                entry_point="mjx_sac.envs.to_gymnasium:DeviceEnv",
                vector_entry_point="mjx_sac.envs.to_gymnasium:DeviceVectorEnv",
                max_episode_steps=EPISODE_LENGTH,
                kwargs={"name": name},
            )


def is_gym_id(name: str) -> bool:
    """Whether `--env name` means Gymnasium's id as it stands."""
    return name not in _registry and name not in _BRAX_NAMES and _gym_id(name) == name


def by_brax(name: str) -> bool:
    """Brax's or Playground's, whose actions are in [-1, 1], and which take seconds to build."""
    return name in _BRAX_NAMES or name.startswith("playground/")


def check(name: str, impl: str = "jax") -> None:
    """Refuses a name that cannot be an environment, or not on that implementation of MJX, without importing JAX.

    Raises:
      UsageError: one line with the way out.
    """
    if (
        name == "swimmer"
    ):  # it needs the generalized engine's fluid forces, which call jnp.clip with a name JAX dropped
        raise UsageError(
            "env = 'swimmer': Brax 0.14.2 has no MJX version of it, and its own does not run on JAX 0.10 and newer"
        )
    if impl == "warp" and not name.startswith("playground/"):
        raise UsageError(
            f"impl = 'warp': env = {name!r} has no choice of it, playground/<Name> has: leave --impl out"
        )
    if name in _registry or name in _BRAX_NAMES:
        return
    if name.startswith("playground/"):
        _check_installed(name, impl)
    elif gym_id := _gym_id(name):
        from mjx_sac.envs.host import gymnasium

        if ":" in name:
            _check_module(gym_id)
        gymnasium.check(gym_id, _brax_name(gym_id))
    elif ":" in name:
        _check_module(name)
    else:
        hint = (
            nearest(name, names())
            or f"; known are {', '.join(names())}, playground/<Name>, package.module:factory"
        )
        raise UsageError(f"env = {name!r}: no such environment{hint}")


def _check_installed(name: str, impl: str) -> None:
    if importlib.util.find_spec("mujoco_playground") is None:
        raise UsageError(f"env = {name!r}: needs MuJoCo Playground: install mjx-sac[playground]")
    if impl == "warp" and importlib.util.find_spec("warp") is None:
        raise UsageError("impl = 'warp': needs NVIDIA Warp: install mjx-sac[playground]")


def _gym_id(name: str) -> str | None:
    """Gymnasium's id, if `name` looks like one: `Ant-v5`, `module:Ant-v5`, or anything after `gym/`."""
    if name.startswith("gym/"):
        return name.removeprefix("gym/")
    return name if re.fullmatch(r"([\w.]+:)?([\w.-]+/)?[\w.-]+-v\d+", name) else None


def _brax_name(gym_id: str) -> str | None:
    """Brax's name of the same task: `ant` for `Ant-v2`."""
    plain = gym_id.partition("-")[0].lower()
    return next((name for name in _BRAX_NAMES if name.replace("_", "") == plain), None)


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
        raise UsageError(
            f"env = {name!r}: no module named {module!r}; package.module:factory must be importable"
        )


def make(name: str, config: Config | None = None) -> "Environment | HostEnvironment":
    """The environment called `name`; `config` says which physics engine and how many steps for each action.

    Raises:
      UsageError: there is none, or the user's factory failed or returned something else.
    """
    check(name)
    config = config or Config()
    host: dict[str, Any] = {
        name: getattr(config, name) for name in ("vectorization", "action_repeat", "episode_length")
    }
    if name in _registry:
        return _adapt(name, _registry[name], host)
    if name.startswith("playground/"):
        _check_installed(name, config.impl)
        from mjx_sac.envs import playground

        return playground.make(name.partition("/")[2], config.impl)
    if gym_id := _gym_id(name):
        from mjx_sac.envs.host import gymnasium

        return gymnasium.make(gym_id, **host)
    if ":" in name:
        return _adapt(name, partial(_call_factory, name), host)
    from mjx_sac.envs import brax

    return brax.make(name, config.backend)


def _call_factory(name: str, **arguments: Any) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)(**arguments)
    except Exception as error:
        raise UsageError(f"env = {name!r}: {type(error).__name__}: {error}") from error


def _adapt(
    name: str, factory: Callable[[], Any], host: dict[str, Any]
) -> "Environment | HostEnvironment":
    """Ours as it is; Brax's, Playground's and Gymnasium's through their adapters."""
    env = factory()
    if hasattr(env, "action_space"):  # Gymnasium's environments alone have one
        from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment

        return GymnasiumEnvironment(name, factory, example=env, **host)
    from mjx_sac.envs.base import Environment
    from mjx_sac.envs.brax import BraxEnvironment

    # Asked of the type: Brax's `observation_size` is a property that would run a reset, operation by operation.
    if all(
        hasattr(type(env), attribute)
        for attribute in ("unwrapped", "observation_size", "action_size")
    ):
        return BraxEnvironment(env)
    if not isinstance(env, Environment):
        raise UsageError(
            f"env = {name!r}: {type(env).__name__} is no environment: it needs observation_size, action_size, reset, step"
        )
    return env
