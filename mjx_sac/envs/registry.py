"""Environments by name: the registry and the way to each adapter. Importing it imports no JAX."""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mjx_sac.config import EPISODE_LENGTH, Config, UsageError, import_from_here, nearest, with_line
from mjx_sac.envs import mjx, options, tasks

if TYPE_CHECKING:
    from mjx_sac.envs.base import Environment
    from mjx_sac.envs.host.protocol import HostEnvironment

_registry: dict[str, Callable[..., "Environment"]] = {}

# fmt: off
BRAX_NAMES = (
    "ant", "fast", "halfcheetah", "hopper", "humanoid", "humanoidstandup", "pusher", "reacher",
    "inverted_double_pendulum", "inverted_pendulum", "swimmer", "walker2d",
)
# fmt: on
"""Brax's registry, written down so that a misspelt name is found before JAX is imported."""

BRAX_TRAINABLE = tuple(name for name in BRAX_NAMES if name not in ("fast", "swimmer"))
"""Without Brax's own test environment, and one that does not run."""


def register(name: str, factory: Callable[..., "Environment"]) -> None:
    """Make `--env name` (and `Config(env=name)`) mean `factory(**env_options)` from now on."""
    _registry[name] = factory


def names() -> list[str]:
    """Return every name without `playground/` and Gymnasium's, Brax's first."""
    return [*BRAX_NAMES, *_registry]


def registered() -> list[str]:
    """Return the names given to `register`, by this program or by a module it imported."""
    return [*_registry]


MJX_NAMES = tuple(f"mjx/{name}" for name in tasks.SIZES)
"""Gymnasium's MuJoCo tasks on MJX."""

ON_MJX = ("playground/", "mjx/")
"""How names begin of environments for which `impl` chooses MJX's implementation."""


def register_with_gymnasium(names: Iterable[str] = (*BRAX_TRAINABLE, *MJX_NAMES)) -> None:
    """Make `gymnasium.make("mjx_sac/<name>")` work; importing `envs.to_gymnasium` calls it.

    Those of `mjx/` lose that prefix: `mjx_sac/Ant-v5`.
    """
    from gymnasium.envs import registration

    for name in names:
        plain = name.removeprefix("mjx/")  # Gymnasium's ids have one slash
        if f"mjx_sac/{plain}" not in registration.registry:
            theirs = registration.registry.get(plain) if name in MJX_NAMES else None
            registration.register(
                f"mjx_sac/{plain}",
                entry_point="mjx_sac.envs.to_gymnasium:DeviceEnv",
                vector_entry_point="mjx_sac.envs.to_gymnasium:DeviceVectorEnv",
                max_episode_steps=theirs.max_episode_steps if theirs else EPISODE_LENGTH,
                kwargs={"name": name},
            )


def is_gym_id(name: str) -> bool:
    """Return whether `--env name` is Gymnasium's id as it stands."""
    return name not in (*names(), *MJX_NAMES) and _gym_id(name) == name


def by_brax(name: str) -> bool:
    """Return whether it is simulated by MJX or Brax: actions in [-1, 1], and seconds to build."""
    return name in BRAX_NAMES or name.startswith(ON_MJX)


def packaged(name: str) -> bool:
    """Return whether it comes with this package, Brax or Playground, not from the user."""
    return by_brax(name) and name not in _registry


def check(name: str, impl: str = "jax", env_options: Mapping[str, Any] | None = None) -> None:
    """Refuse, without JAX, a name that cannot be an environment on that MJX implementation.

    Those of `mjx/` refuse options here too; others do when they are made.
    """
    if name == "swimmer":  # its fluid forces call jnp.clip with an argument that JAX dropped
        problem = "Brax 0.14.2 has no MJX version of it, and its own does not run on JAX 0.10"
        raise UsageError(f"env = 'swimmer': {problem} and newer: use mjx/Swimmer-v5")
    if impl == "warp" and not name.startswith(ON_MJX):
        problem = f"env = {name!r} has no choice of it, playground/<Name> and mjx/<Name> have"
        raise UsageError(f"impl = 'warp': {problem}: leave --impl out")
    if name in names():
        return
    if name.startswith(ON_MJX):
        _check_on_mjx(name, impl, env_options or {})
    elif gym_id := _gym_id(name):
        from mjx_sac.envs.host import gymnasium

        if ":" in name:
            _check_module(gym_id)
        gymnasium.check(gym_id, _brax_name(gym_id))
    elif ":" in name:
        _check_module(name)
    else:
        known = f"{', '.join(names())}, playground/<Name>, mjx/<Name>, package.module:factory"
        hint = nearest(name, names()) or f"; known are {known}"
        raise UsageError(f"env = {name!r}: no such environment{hint}")


def _check_on_mjx(name: str, impl: str, env_options: Mapping[str, Any]) -> None:
    if name.startswith("mjx/"):
        tasks.check(name.removeprefix("mjx/"), env_options)
    elif importlib.util.find_spec("mujoco_playground") is None:
        raise UsageError(f"env = {name!r}: needs MuJoCo Playground: install mjx-sac[playground]")
    if impl == "warp" and importlib.util.find_spec("warp") is None:
        raise UsageError("impl = 'warp': needs NVIDIA Warp: install mjx-sac[playground]")


def _gym_id(name: str) -> str | None:
    """Return Gymnasium's id, if it looks like one: `Ant-v5`, `module:Ant-v5`, or after `gym/`."""
    if name.startswith("gym/"):
        return name.removeprefix("gym/")
    return name if re.fullmatch(r"([\w.]+:)?([\w.-]+/)?[\w.-]+-v\d+", name) else None


def _brax_name(gym_id: str) -> str | None:
    """Return Brax's name of the same task: `ant` for `Ant-v2`."""
    plain = gym_id.partition("-")[0].lower()
    return next((name for name in BRAX_NAMES if name.replace("_", "") == plain), None)


def _check_module(name: str) -> None:
    """Refuse a module that cannot be found; the current directory is searched too."""
    import_from_here()
    module = name.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        problem = f"no module named {module!r}; package.module:factory must be importable"
        raise UsageError(f"env = {name!r}: {problem}")


def make(name: str, config: Config | None = None) -> "Environment | HostEnvironment":
    """Return the environment `name`, as in `--env`.

    Raises:
      UsageError: there is none, or the user's factory failed or returned something else.
    """
    config = config or Config()
    check(name, config.impl if name.startswith(ON_MJX) else "jax")
    if name in _registry:
        return _adapt(name, _registry[name], config)
    if by_brax(name):
        mjx.load(config.impl)
        from mjx_sac.envs import checked

        env = _make_by_brax(name, config)
        return checked.CheckedEnvironment(name, env, config, trusted=not config.env_options)
    if gym_id := _gym_id(name):
        from mjx_sac.envs.host import gymnasium

        return gymnasium.make(gym_id, config)
    return _adapt(name, partial(_call_factory, name), config)


def _make_by_brax(name: str, config: Config) -> Any:
    if name in BRAX_NAMES:
        from mjx_sac.envs import brax

        return brax.make(name, config.backend, config.env_options, config.domain_randomization)
    family, _, task = name.partition("/")
    # Evaluation has as many at once, see `training.compiled.evaluate`.
    copies = max(config.num_envs, config.reset_pool_size, 128)
    if family == "mjx":
        from mjx_sac.envs.tasks.environment import MujocoTask

        return MujocoTask(task, config.impl, config.env_options, copies)
    from mjx_sac.envs import playground

    how = config.impl, config.env_options, config.domain_randomization
    return playground.make(task, *how, copies)


def adapt(env: Any | None, config: Config) -> "Environment | HostEnvironment":
    """Return what a script hands over, or what makes it, as `make` would; None is `config.env`."""
    if env is None:
        return make(config.env, config)
    if hasattr(env, "simulator"):
        return env
    if isinstance(env, type) or (callable(env) and not hasattr(env, "step")):
        return _adapt(config.env, env, config)
    if hasattr(env, "action_space"):
        problem = f"is one environment, but num_envs = {config.num_envs} and evaluation needs more"
        advice = "pass what makes one: env=lambda: gymnasium.make(...)"
        raise UsageError(f"env = {type(env).__name__}: {problem}: {advice}")
    from mjx_sac.envs import checked

    if config.env_options and not isinstance(env, checked.CheckedEnvironment):
        problem = f"{type(env).__name__} is made already: make it so, or pass what makes it"
        raise UsageError(f"env_option = {next(iter(config.env_options))!r}: {problem}")
    return _adapt(config.env, lambda **_: env, config)


def _call_factory(name: str, **arguments: Any) -> Any:
    module, _, attribute = name.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    try:
        return factory(**arguments)
    except TypeError as error:
        raise options.unexpected(name, error, arguments, factory) or error from None


def _adapt(name: str, factory: Callable[[], Any], config: Config) -> Any:
    """Return the environment that `factory` makes with the options, through its adapter."""
    make = partial(factory, **options.nested(config.env_options))
    try:
        env = make()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        if refused := options.unexpected(name, error, config.env_options, factory):
            raise refused from error
        raise UsageError(f"env = {name!r}: {with_line(error, factory)}") from error
    if hasattr(env, "action_space"):  # Gymnasium's environments alone have one
        from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment

        return GymnasiumEnvironment(name, make, config, example=env)
    from mjx_sac.envs import checked

    return checked.adapt(name, env, config)
