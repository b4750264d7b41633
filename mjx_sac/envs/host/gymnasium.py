"""Gymnasium's environments: which can be trained on, and how many of them are made.

Observations are flattened: a Box row by row, a Dict or Tuple part by part in the space's own order
(Gymnasium sorts the keys of a plain dict). Actions arrive in [-1, 1] and are scaled to the bounds
of the action space.
"""

# pyright: basic
import contextlib
import importlib
import math
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from mjx_sac.config import EPISODE_LENGTH, Config, UsageError
from mjx_sac.envs import options, reports, views
from mjx_sac.envs.host import autoreset
from mjx_sac.envs.host.checked import CheckedEnv, close, layers, parts, quiet
from mjx_sac.envs.host.protocol import BrokenEnvironmentError, in_turn, warn
from mjx_sac.envs.host.workers import CLOSING, WorkerVectorEnv
from mjx_sac.envs.spaces import control

_SPACES = ("observation_space", "action_space")

SUPPORTED = "observations must be Box, or Dict or Tuple of Box, and actions Box with finite bounds"


class GymnasiumEnvironment:
    """A kind of Gymnasium environment, as a `HostEnvironment` that has `spaces`."""

    def __init__(
        self, name: str, make: Callable[..., Any], config: Config | None = None, example: Any = None
    ) -> None:
        """Look at the spaces of `example`, or of an environment that `make` returns.

        It takes one step, to find mistakes before anything is compiled, and is closed.
        """
        self.name, self._make, self._config = name, make, config or Config()
        self._made: list[weakref.ref[Any]] = []
        self._try(self._call(make) if example is None else example)

    def _error(self, problem: str) -> UsageError:
        return UsageError(f"env = {self.name!r}: {problem}")

    def _try(self, example: Any) -> None:
        self._refuse_again(example)
        seconds = self._config.env_start_timeout

        def look() -> None:
            with quiet():
                self._look_at(example)

        looking, closing = in_turn(look, partial(close, example, "the environment"))
        try:
            looking.result(seconds)
        except BrokenEnvironmentError as error:
            raise self._error(str(error)) from error
        except TimeoutError:
            problem = f"gave no answer within env_start_timeout = {seconds:g} seconds"
            raise self._error(problem) from None
        finally:
            if not wait([closing], CLOSING).done:
                warn(f"the environment had not closed after {CLOSING:g} seconds")

    def _look_at(self, example: Any) -> None:
        if isinstance(example, VectorEnv) or hasattr(example, "step_wait"):
            advice = "return one gymnasium.Env, and --num_envs makes many of it"
            raise self._error(f"returns a {type(example).__name__}, many in one: {advice}")
        for name in (type(layer).__name__ for layer in layers(example)):
            if "autoreset" in name.lower() and name != "Autoreset":  # Gymnasium's own does no harm
                raise self._error(f"{name} begins new episodes by itself: leave that wrapper out")
        self._measure(example, *(getattr(example, name, None) for name in _SPACES))
        checked = CheckedEnv(lambda: example, self._spaces, 2, 1, "the environment")
        checked.reset(seed=0)
        checked.step(example.action_space.sample())
        self.reported = reports.names(checked.info)

    def _refuse_again(self, env: Any) -> Any:
        """Return `env`, unless it is one that has been returned before."""
        inner = getattr(env, "unwrapped", env)
        if any(ref() is inner for ref in self._made):
            raise self._error("returns one object again and again: make a new one at every call")
        with contextlib.suppress(TypeError):  # a class with slots
            self._made.append(weakref.ref(inner))
        return env

    def _measure(self, example: Any, observation: Any, action: Any) -> None:
        for space in (observation, action):
            if not isinstance(space, spaces.Space):
                kind = f"{type(space).__module__}.{type(space).__name__}"
                old = kind.startswith("gym.")
                advice = "import gymnasium instead of gym, or wrap it with the package shimmy"
                problem = f"a space is {kind}, {'of old Gym' if old else 'none of Gymnasium'}"
                raise self._error(f"{problem}: {advice if old else SUPPORTED}")
        self._view(observation)
        if not isinstance(action, spaces.Box) or not action.is_bounded():
            raise self._error(f"actions are {_short(action)}: {SUPPORTED}")
        self.action_size = math.prod(action.shape)
        low, high = ([float(x) for x in bound.ravel()] for bound in (action.low, action.high))
        bounds = {"shape": list(action.shape), "dtype": str(action.dtype), "low": low, "high": high}
        seen = self.views.spaces() if self.views else {"observation": [*observation.shape]}
        self.spaces = {**seen, "action": bounds, **control(getattr(example, "unwrapped", example))}
        self._spaces = (observation, action)
        spec = getattr(example, "spec", None)
        self.time_limit = spec.max_episode_steps if spec else None

    def _view(self, space: spaces.Space) -> None:
        """Find out which parts of observations are kept, and who sees which."""
        seen = self._config.actor_observation, self._config.critic_observation
        shapes = dict(self._shapes(space))
        if isinstance(space, spaces.Box):
            self.views, self._kept = None, None
            views.refuse(self.name, *seen)
            self.observation_size = views.check_size(self.name, math.prod(space.shape))
        else:
            self.views = views.choose(self.name, shapes, *seen)
            self._kept = views.kept(shapes, self.views)
            self.observation_size = self.views.size

    def _shapes(self, space: spaces.Space, *path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield names and shapes of all parts, in order."""
        if isinstance(space, spaces.Box):
            yield ".".join(path), space.shape
        elif isinstance(space, spaces.Dict | spaces.Tuple):
            for key, part in parts(space):
                yield from self._shapes(part, *path, str(key))
        else:
            raise self._error(f"observations are {_short(space)}: {SUPPORTED}")

    def _call(self, make: Callable[[], Any]) -> Any:
        """Return `make()`; where it fails, most likely for a missing package, raise one line."""
        try:
            with quiet():
                return make()
        except (Exception, SystemExit) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = str(error) or f"{where.line} ({where.filename}:{where.lineno})"
            raise self._error(f"{type(error).__name__}: {message}") from error

    def simulator(
        self, num_envs: int, episode_length: int, once: bool = False
    ) -> autoreset.VectorSimulator:
        repeat, alone = self._config.action_repeat, self._config.vectorization == "async"
        make = self._make if alone else lambda: self._refuse_again(self._make())
        more: Any = {"kept": self._kept, "reported": self.reported}
        one = partial(CheckedEnv, make, self._spaces, episode_length, repeat, **more)
        makers = [partial(one, f"environment {index}") for index in range(num_envs)]
        together = partial(SyncVectorEnv, autoreset_mode=AutoresetMode.DISABLED)
        vector = (WorkerVectorEnv if alone else together)(makers)
        return autoreset.make(vector, episode_length, repeat, once, metrics=len(self.reported))

    def showing(self, camera: str | None, draw: bool) -> gymnasium.Env:
        """Return one environment; with `draw`, its `render` returns an image or it is refused."""
        wanted = {"render_mode": "rgb_array"} if draw else {}
        if camera:
            wanted["camera_name"] = camera
        try:
            with quiet():
                env = self._make(**wanted)
        except (Exception, SystemExit) as error:
            raise self._error(f"cannot be made with {', '.join(wanted)}: {error}") from None
        self._refuse_again(env)
        if draw and env.render_mode != "rgb_array":
            raise self._error("does not draw: it must take render_mode='rgb_array'")
        return env


class VectorOnlyEnvironment(GymnasiumEnvironment):
    """An id that Gymnasium knows as a vector environment alone, which steps many in its own way."""

    def __init__(self, name: str, spec: Any, config: Config) -> None:
        """Pass `config.episode_length` on where it is shorter than the time limit in `spec`."""
        self.name, self._spec, self._config, self._made = name, spec, config, []
        if config.action_repeat > 1:
            problem = f"{name!r} steps all its environments at once: leave it at 1"
            raise UsageError(f"action_repeat = {config.action_repeat}: {problem}")
        limit = config.episode_length
        shorter = limit and limit < (spec.max_episode_steps or math.inf)
        self._kwargs = {"max_episode_steps": limit} if shorter else {}
        self._kwargs |= options.nested(config.env_options)
        self._try(self._vector(1))

    def _look_at(self, example: Any) -> None:
        self._measure(example, *(getattr(example, f"single_{name}", None) for name in _SPACES))
        simulator = autoreset.make(example, EPISODE_LENGTH, 1)
        simulator.reset(0)
        simulator.step(np.zeros((1, self.action_size), np.float32))
        rows = {k: x for k, x in simulator.infos.items() if getattr(x, "shape", None) == (1,)}
        said = {k: x[0] for k, x in rows.items() if not str(k).startswith("_")}
        self.reported = reports.names(said)

    def _vector(self, num_envs: int) -> VectorEnv:
        make = partial(gymnasium.make_vec, self._spec, num_envs, "vector_entry_point")
        try:
            return self._call(partial(make, **self._kwargs))
        except UsageError as error:
            if "unexpected keyword argument 'max_episode_steps'" not in str(error):
                raise
            limit = f"episode_length = {self._kwargs['max_episode_steps']}"
            problem = f"{self.name!r} lets nobody set its time limit: leave it out"
            raise UsageError(f"{limit}: {problem}") from error

    def simulator(
        self, num_envs: int, episode_length: int, once: bool = False
    ) -> autoreset.VectorSimulator:
        vector = self._refuse_again(self._vector(num_envs))
        return autoreset.make(vector, episode_length, 1, kept=self._kept, reported=self.reported)

    def showing(self, camera: str | None, draw: bool) -> gymnasium.Env:
        raise self._error("exists as a vector environment alone, which does not draw")


def _short(space: spaces.Space) -> str:
    text = str(space)
    return text if len(text) < 80 else text[:77] + "..."


@quiet()
def check(name: str, on_device: str | None = None) -> Any:
    """Return the spec of an id, unless Gymnasium does not know it or has retired it.

    Where it is refused, the one line suggests the nearest name, and `on_device`, ours of that task.
    """
    try:
        module, _, plain = name.rpartition(":")
        if module:
            importlib.import_module(module)
        spec = gymnasium.spec(plain)
    except (ImportError, gymnasium.error.Error) as error:
        raise UsageError(f"env = {name!r}: {error}") from None
    except (Exception, SystemExit) as error:  # the module that was to register it
        raise UsageError(f"env = {name!r}: {type(error).__name__}: {error}") from error
    if "mujoco_py" in getattr(spec.entry_point, "__name__", ""):
        newest = max(s.version or 0 for s in gymnasium.registry.values() if s.name == spec.name)
        device = f"--env {on_device} (on the device) or " if on_device else ""
        advice = f"use {device}--env {spec.name}-v{newest} (on the host)"
        raise UsageError(f"env = {name!r} is retired: {advice}")
    return spec


def make(name: str, config: Config) -> GymnasiumEnvironment:
    """Return the environment that Gymnasium calls `name`, `module:` in front included."""
    spec = check(name)
    if spec.entry_point is None:
        return VectorOnlyEnvironment(name, spec, config)
    # Without Gymnasium's order and type checks, which `CheckedEnv` makes up for.
    arguments = {"disable_env_checker": True, **options.nested(config.env_options)}
    try:
        return GymnasiumEnvironment(name, partial(gymnasium.make, name, **arguments), config)
    except UsageError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        entry = spec.entry_point
        made_by = entry if callable(entry) else load_env_creator(entry)
        refused = options.unexpected(name, error.__cause__, config.env_options, made_by)
        raise refused or error from None
