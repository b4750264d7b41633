"""Gymnasium's environments: what can be trained on, how many are stepped, and what may go wrong there.

Observations are flattened: a Box row by row, a Dict or Tuple part by part in the space's own order (Gymnasium sorts the keys of a
plain dict). Actions arrive in [-1, 1] and are scaled to the bounds of the action space.
"""

# pyright: basic
import contextlib
import importlib
import math
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from mjx_sac.config import UsageError
from mjx_sac.envs.host.protocol import Answer, BrokenEnvironmentError
from mjx_sac.envs.host.workers import Guard, Workers, flatten

MAX_OBSERVATION_SIZE = 10_000
"""Numbers in a flat observation. What is larger is an image, and wants a network that we have not."""

SUPPORTED = "observations must be Box, or Dict or Tuple of Box, and actions Box with finite bounds"


class GymnasiumEnvironment:
    """Environments of one kind, as the trainer wants them.

    Attributes:
      observation_size: numbers in a flat observation.
      action_size: numbers in a flat action.
      time_limit: steps after which an environment ends its episodes itself, or None.
      spaces: of observations and actions, see `base.spaces`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        *,
        vectorization: str = "sync",
        action_repeat: int = 1,
        episode_length: int | None = None,
        example: Any = None,
    ) -> None:
        """`make` makes one environment, of which `example` may be one. A VectorEnv's own entry point is used where `name` has no
        other; `episode_length` is for that.
        """
        gymnasium.logger.min_level = gymnasium.logger.ERROR + 1  # what matters we say in one line
        self.name, self._make, self._vectorization, self._repeat = (
            name,
            make,
            vectorization,
            action_repeat,
        )
        self._spec: Any = _vector_only(name) if example is None else None
        if self._spec and action_repeat > 1:
            raise UsageError(
                f"action_repeat = {action_repeat}: {name!r} steps all its environments at once: leave it at 1"
            )
        # A limit that is longer than its own changes nothing.
        shorter = (
            self._spec
            and episode_length
            and episode_length < (self._spec.max_episode_steps or math.inf)
        )
        self._kwargs: dict[str, Any] = {"max_episode_steps": episode_length} if shorter else {}
        if example is None:
            example = self._made(1) if self._spec else self._call(make)
        try:
            self._measure(example)
        finally:
            with contextlib.suppress(Exception):
                example.close()

    def _measure(self, example: Any) -> None:
        if isinstance(example, VectorEnv) and not self._spec:
            raise UsageError(
                f"env = {self.name!r}: returns a VectorEnv: return one gymnasium.Env, and --num_envs makes many of it"
            )
        self._spaces = observation, action = (
            (example.single_observation_space, example.single_action_space)
            if self._spec
            else (example.observation_space, example.action_space)
        )
        self.observation_size = sum(math.prod(box.shape) for box in self._boxes(observation))
        if self.observation_size > MAX_OBSERVATION_SIZE:
            raise UsageError(
                f"env = {self.name!r}: observations have {self.observation_size:,} numbers, more than {MAX_OBSERVATION_SIZE:,}: "
                f"images cannot be learned from; wrap the environment so that it returns features"
            )
        if not isinstance(action, spaces.Box) or not action.is_bounded():
            raise UsageError(f"env = {self.name!r}: actions are {_short(action)}: {SUPPORTED}")
        self.action_size = math.prod(action.shape)
        low, high = ([float(x) for x in bound.ravel()] for bound in (action.low, action.high))
        bounds = {"shape": list(action.shape), "dtype": str(action.dtype), "low": low, "high": high}
        self.spaces = {"observation": _structure(observation), "action": bounds}
        self.time_limit = example.spec.max_episode_steps if example.spec else None

    def _boxes(self, space: spaces.Space) -> Iterator[spaces.Box]:
        if isinstance(space, spaces.Box):
            yield space
        elif isinstance(space, spaces.Dict | spaces.Tuple):
            for part in space.values() if isinstance(space, spaces.Dict) else space:
                yield from self._boxes(part)
        else:
            raise UsageError(f"env = {self.name!r}: observations are {_short(space)}: {SUPPORTED}")

    def _call(self, make: Callable[[], Any]) -> Any:
        """In one line what kept an environment from being made, a missing package most likely."""
        try:
            return make()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = str(error) or f"{where.line} ({where.filename}:{where.lineno})"
            raise UsageError(f"env = {self.name!r}: {type(error).__name__}: {message}") from error

    def _made(self, num_envs: int) -> VectorEnv:
        """By the id's own vector entry point."""
        try:
            return self._call(
                lambda: gymnasium.make_vec(
                    self._spec, num_envs, vectorization_mode="vector_entry_point", **self._kwargs
                )
            )
        except UsageError as error:
            if "unexpected keyword argument 'max_episode_steps'" not in str(error):
                raise
            raise UsageError(
                f"episode_length = {self._kwargs['max_episode_steps']}: {self.name!r} lets nobody set its time limit: leave it out"
            ) from error

    def simulator(self, num_envs: int, episode_length: int) -> "VectorSimulator":
        """See `HostEnvironment`."""
        if self._spec:
            vector = self._made(num_envs)
        else:
            makers = [
                partial(Guard, self._make, index, self._spaces, episode_length, self._repeat)
                for index in range(num_envs)
            ]
            vector = (
                Workers(makers)
                if self._vectorization == "async"
                else SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
            )
        return VectorSimulator(vector, episode_length, self._repeat)

    def showing(self, camera: str | None, draw: bool) -> gymnasium.Env:
        """One environment, with `draw` such that its `render` returns an image.

        Raises:
          UsageError: it does not draw.
        """
        if self._spec:
            raise UsageError(
                f"env = {self.name!r}: exists as a vector environment alone, which does not draw"
            )
        wanted = ({"render_mode": "rgb_array"} if draw else {}) | (
            {"camera_name": camera} if camera else {}
        )
        try:
            env = self._make(**wanted)
        except Exception as error:
            raise UsageError(
                f"env = {self.name!r}: cannot be made with {', '.join(wanted)}: {error}"
            ) from None
        if draw and env.render_mode != "rgb_array":
            raise UsageError(
                f"env = {self.name!r}: does not draw: it must take render_mode='rgb_array'"
            )
        return env


class VectorSimulator:
    """A VectorEnv of any autoreset mode behind one `step`: the true final observation first, then the new episode's first.

    Where Gymnasium resets by itself (next step, same step), an environment with a NaN cannot be made to begin a new episode:
    its steps are left out until it does so.
    """

    def __init__(self, vector: VectorEnv, episode_length: int, action_repeat: int) -> None:
        self._vector, self._limit, self._repeat = vector, episode_length, action_repeat
        self._mode = AutoresetMode(vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._space, action = vector.single_observation_space, vector.single_action_space
        assert isinstance(action, spaces.Box)
        assert action.shape is not None
        self._action, self._action_shape = action, action.shape
        self._length = np.zeros(vector.num_envs, np.int64)
        self._resets = np.zeros(vector.num_envs, bool)  # by themselves, at the next step
        self._current = np.zeros((vector.num_envs, 0), np.float32)

    def reset(self, seed: int) -> np.ndarray:
        self._length[:], self._resets[:] = 0, False
        self._current = self._flat(self._vector.reset(seed=seed)[0])
        return self._current

    def step(self, action: np.ndarray) -> Answer:
        acted_on, stepped = np.isfinite(self._current).all(-1), ~self._resets
        observation, reward, terminated, truncated, infos = self._vector.step(self._scaled(action))
        n = self._vector.num_envs
        reward = np.asarray(reward, np.float32).reshape(n)
        terminated, truncated = (
            np.asarray(flags, bool).reshape(n) for flags in (terminated, truncated)
        )
        done = terminated | truncated
        self._current = self._flat(observation)
        final = self._final(infos, done)
        finite = acted_on & np.isfinite(final).all(-1) & np.isfinite(reward) | ~stepped
        steps = np.where(stepped, self._held(infos), 0)
        self._length = np.where(stepped, self._length + steps, 0)
        if self._mode is AutoresetMode.NEXT_STEP:
            self._resets = done
        elif self._mode is AutoresetMode.DISABLED:
            truncated = truncated | (self._length >= self._limit)
            self._begin(done | truncated | ~finite)
        self._length[done] = 0
        good = finite & stepped
        return Answer(
            observation=np.where(good[:, None], final, 0.0).astype(np.float32),
            reward=np.where(good, reward, 0.0).astype(np.float32),
            terminated=terminated & good,
            truncated=truncated & ~terminated & good,
            finite=finite,
            steps=steps.astype(np.int32),
            current=self._current,
        )

    def _begin(self, where: np.ndarray) -> None:
        if where.any():
            self._current = self._flat(self._vector.reset(options={"reset_mask": where})[0])
            self._length[where] = 0

    def _scaled(self, action: np.ndarray) -> np.ndarray:
        """From [-1, 1] to the bounds of the space. What the policy made of an observation that is no number becomes the middle."""
        low, high = (
            bound.reshape(-1).astype(np.float64) for bound in (self._action.low, self._action.high)
        )  # int8 overflows
        scaled = (low + (np.nan_to_num(action) + 1) / 2 * (high - low)).clip(low, high)
        if np.issubdtype(self._action.dtype, np.integer):
            scaled = np.rint(scaled)
        return scaled.astype(self._action.dtype).reshape(-1, *self._action_shape)

    def _final(self, infos: dict[str, Any], done: np.ndarray) -> np.ndarray:
        """The observations before any reset: with same-step autoreset they are in `infos`."""
        final = self._current.copy()
        if self._mode is not AutoresetMode.SAME_STEP:
            return final
        if done.any() and "final_obs" not in infos:
            raise BrokenEnvironmentError(
                "the VectorEnv began new episodes in the same step without final_obs in its infos"
            )
        for i in np.flatnonzero(done):
            final[i] = self._flat(_part(infos["final_obs"], int(i)), 1)[0]
        return final

    def _flat(self, observation: Any, n: int | None = None) -> np.ndarray:
        flat, size = (
            flatten(self._space, observation, n or self._vector.num_envs),
            spaces.flatdim(self._space),
        )
        if flat.shape[-1] != size:
            raise BrokenEnvironmentError(
                f"the VectorEnv returned {flat.shape[-1]} numbers, its observation space has {size}"
            )
        return flat

    def _held(self, infos: dict[str, Any]) -> np.ndarray:
        """For how many of their steps the environments held the action."""
        held = np.full(self._vector.num_envs, self._repeat)
        return (
            np.where(infos["_held"], infos["held"], held)
            if self._repeat > 1 and "_held" in infos
            else held
        )

    @property
    def awaited(self) -> int | None:
        """See `Simulator`."""
        if isinstance(self._vector, Workers):
            return self._vector.awaited
        busy = (
            i
            for i, env in enumerate(getattr(self._vector, "envs", ()))
            if getattr(env, "busy", False)
        )
        return next(busy, None)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # whatever the run came to is not to be lost over it
            self._vector.close()


def _structure(space: spaces.Space) -> Any:
    """The shapes that `flatten` goes through, in its order."""
    if isinstance(space, spaces.Box):
        return list(space.shape)
    assert isinstance(space, spaces.Dict | spaces.Tuple)
    return {
        str(key): _structure(part)
        for key, part in (space.items() if isinstance(space, spaces.Dict) else enumerate(space))
    }


def _part(batch: Any, i: int) -> Any:
    """Of what belongs to environment `i` in `infos`: an array of observations, or a dictionary or tuple of arrays."""
    if isinstance(batch, dict):
        return {key: _part(value, i) for key, value in batch.items() if not key.startswith("_")}
    return tuple(_part(value, i) for value in batch) if isinstance(batch, tuple) else batch[i]


def _spec(name: str) -> Any:
    """`module:` in front is imported first, as `gymnasium.make` does."""
    module, _, plain = name.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(plain)


def _vector_only(name: str) -> Any:
    """The spec of an id that exists as a vector environment alone."""
    try:
        spec = _spec(name)
    except (gymnasium.error.Error, ImportError):
        return None
    return spec if spec.entry_point is None else None


def _short(space: spaces.Space) -> str:
    text = str(space)
    return text if len(text) < 80 else text[:77] + "..."


def check(name: str, on_device: str | None = None) -> None:
    """Refuses an id that Gymnasium does not know, or has retired. `on_device` is our own name of the same task.

    Raises:
      UsageError: one line with the nearest name.
    """
    gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    try:
        spec = _spec(name)
    except (ImportError, gymnasium.error.Error) as error:
        raise UsageError(f"env = {name!r}: {error}") from None
    except Exception as error:  # the module that was to register it
        raise UsageError(f"env = {name!r}: {type(error).__name__}: {error}") from error
    if "mujoco_py" in getattr(spec.entry_point, "__name__", ""):
        newest = max(s.version or 0 for s in gymnasium.registry.values() if s.name == spec.name)
        device = f"--env {on_device} (on the device) or " if on_device else ""
        raise UsageError(
            f"env = {name!r} is retired: use {device}--env {spec.name}-v{newest} (on the host)"
        )


class _Make:
    """`gymnasium.make` of an id, without its order and type checks, which `Guard` makes up for. A class, to be pickled."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, **arguments: Any) -> gymnasium.Env:
        return gymnasium.make(self._name, disable_env_checker=True, **arguments)


def make(name: str, **options: Any) -> GymnasiumEnvironment:
    """The environment that Gymnasium calls `name`, `module:` in front included."""
    check(name)
    return GymnasiumEnvironment(name, _Make(name), **options)
