"""One Gymnasium environment, asked as Gymnasium asks and checked at every step.

Errors name the environment and its step.
"""

# pyright: basic
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mjx_sac.config import UsageError
from mjx_sac.envs import reports
from mjx_sac.envs.host.protocol import BrokenEnvironmentError, warn
from mjx_sac.envs.views import Ranges

_FINAL = ("final_obs", "final_observation", "terminal_observation")
"""Where infos have the true final observation of an environment that resets in the same step."""

# Made once, for they are asked for at every step.
_SEQUENCE, _NUMBER = (tuple, list), (float, int, np.bool_, np.floating, np.integer)


class CheckedEnv(gymnasium.Env):
    """Hold actions, flatten observations, refuse what does not fit; `who` is its name in errors.

    It is made at its first reset, so that a failure there is reported like any other. It must have
    the `expected` spaces of observations and actions.

    Attributes:
      busy: a call into it has not returned.
      info: what it said in its last step.
      alone: it has a process of its own, whose generators are its own too.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        expected: Any,
        limit: int,
        repeat: int,
        who: str,
        kept: Ranges | None = None,
        reported: tuple[str, ...] = (),
    ) -> None:
        self._make, self._expected, self._who, self._kept = make, expected, who, kept
        self.info, self._reported = {}, reported
        self._limit, self._repeat = limit, repeat
        self._length = self._steps = 0  # of this episode, and of its life
        self._env: Any = None
        blank = np.zeros(spaces.flatdim(expected[0]), np.float32)
        self._last, self._idle = keep(blank, kept), False
        self.busy = self.alone = False
        self.observation_space = spaces.Box(-np.inf, np.inf, self._last.shape)
        self.action_space = expected[1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode; with the option `idle`, do nothing until the next reset."""
        self._idle = "idle" in (options or {})
        if self._idle:
            return self._last, {}
        with self._blamed():
            if self.alone and seed is not None:
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
            if self._env is None:
                self._env = self._make()
                if (self._env.observation_space, self._env.action_space) != self._expected:
                    raise ValueError("its spaces differ from those of the environment made first")
            if seed is not None:
                seed_spaces(self._env, seed)
            result = self._env.reset(seed=seed, options=None)
        self._length = 0
        return self._flat(first_of_two(result, self)), {}  # infos cost time

    def step(self, action: Any) -> Any:
        """Hold the action for `repeat` steps; if the episode ends before, for `infos["held"]`."""
        if self._idle:
            return self._last, 0.0, False, False, {}
        observation, total, terminated, truncated, info, held = None, 0.0, False, False, None, 0
        metrics: list[float] = []
        most = min(self._repeat, self._limit - self._length)
        while held < most and not (terminated or truncated):
            held += 1
            self._steps += 1
            with self._blamed():
                result = self._env.step(np.array(action))  # which it may keep, or change
            observation, reward, terminated, truncated, info = five(result, self)
            total += self._number("reward", reward)
            terminated = bool(self._number("terminated", terminated))
            truncated = bool(self._number("truncated", truncated))
            self.info = info if isinstance(info, dict) else {}
            if self._reported:
                metrics = reports.add(self._reported, metrics, self.info)
        self._length += held
        if isinstance(info, dict) and (terminated or truncated):
            observation = next((info[k] for k in _FINAL if info.get(k) is not None), observation)
            if info.get("TimeLimit.truncated"):  # old Gym's way to say so
                terminated, truncated = False, True
        infos: dict[str, Any] = {} if held == self._repeat else {"held": held}
        if metrics:
            infos["metrics"] = np.array(metrics, np.float32)
        return self._flat(observation), total, terminated, truncated, infos

    def close(self) -> None:
        env, self._env, self.busy = self._env, None, True
        if env is not None:
            close(env, self._who)
        self.busy = False

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        except (Exception, SystemExit) as error:
            if isinstance(error, UsageError) and error.__cause__ is None:  # ours
                raise
            text = f"{self} raised {type(error).__name__}: {error}"
            raise BrokenEnvironmentError(text) from error
        self.busy = False

    def __str__(self) -> str:
        return f"{self._who}, at its step {self._steps:,},"

    def _flat(self, observation: Any) -> np.ndarray:
        self._last = keep(flatten(self._expected[0], observation, 1, self)[0], self._kept)
        return self._last

    def _number(self, name: str, value: Any) -> Any:
        """Return a number that may be in an array of one."""
        if isinstance(value, _NUMBER):
            return value
        with contextlib.suppress(Exception):
            array = real(value)
            if array.size == 1:
                return float(array.reshape(-1)[0])
        text = " ".join(f"{value!r:.60}".split())
        raise BrokenEnvironmentError(f"{self} returned {name} {text}: must be one number")


def close(env: Any, who: str) -> None:
    """Close it; a failure is a warning, not to lose a run's result over it."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        warn(f"{who} could not be closed: {type(error).__name__}: {error}")


def first_of_two(result: Any, who: Any) -> Any:
    """Return the observation of what `reset` returned."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict | None):
        return result[0]
    raise BrokenEnvironmentError(f"{who} returned no tuple (observation, info) from reset")


def five(result: Any, who: Any) -> Any:
    """Return what `step` returned, which is five values."""
    if isinstance(result, _SEQUENCE) and len(result) == 5:
        return result
    found = f"{len(result)} values" if isinstance(result, _SEQUENCE) else type(result).__name__
    needed = "must be observation, reward, terminated, truncated, info"
    raise BrokenEnvironmentError(f"{who} returned {found} from step: {needed}")


def layers(env: Any) -> Iterator[Any]:
    """Return an environment, what it wraps, what that wraps, ..."""
    while hasattr(env, "action_space"):
        yield env
        env = getattr(env, "__dict__", {}).get("env")


def seed_spaces(env: Any, seed: int) -> None:
    """Seed the spaces of all layers, from which an environment may sample."""
    action, observation = map(int, np.random.SeedSequence(seed).generate_state(2))
    for layer in layers(env):
        for prefix in ("", "single_") if hasattr(layer, "num_envs") else ("",):
            getattr(layer, f"{prefix}action_space").seed(action)
            getattr(layer, f"{prefix}observation_space").seed(observation)


def parts(space: spaces.Dict | spaces.Tuple) -> list[tuple[Any, spaces.Space]]:
    """Return keys and spaces of a Dict or Tuple, in flattening order."""
    return list(space.items() if isinstance(space, spaces.Dict) else enumerate(space))


def real(value: Any) -> np.ndarray:
    """Return an array of real numbers: without None, texts and complex numbers."""
    array = np.asarray(value)
    if array.dtype.kind in "OSUTc":
        raise TypeError(f"it has type {array.dtype}")
    return array


def flatten(space: spaces.Space, observation: Any, n: int, who: Any) -> np.ndarray:
    """Return `n` observations as rows [n, size], copied, not rounded to the space's type.

    Raises:
      BrokenEnvironmentError: what `who` returned does not fit the space.
    """

    def rows(space: spaces.Space, observation: Any) -> np.ndarray:
        if isinstance(space, spaces.Box):
            return np.array(real(observation), np.float32).reshape(n, -1)
        assert isinstance(space, spaces.Dict | spaces.Tuple)
        return np.concatenate([rows(part, observation[key]) for key, part in parts(space)], axis=-1)

    try:
        flat = rows(space, observation)
    except Exception as error:  # of whatever library the array is
        text = f"{who} returned an observation that does not fit its space: {error}"
        raise BrokenEnvironmentError(text) from None
    found, size = flat.shape[-1], spaces.flatdim(space)
    if found != size:
        text = f"{who} returned {found} numbers, its observation space has {size}"
        raise BrokenEnvironmentError(text)
    return flat


def keep(flat: np.ndarray, kept: Ranges | None) -> np.ndarray:
    """Return the numbers of observations that anybody sees; None is all of them."""
    if kept is None:
        return flat
    return np.concatenate([flat[..., first:last] for first, last in kept], axis=-1)


_lock = threading.Lock()
_silenced: list[int] = []


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Gymnasium's logger, which is the whole process's, until the last of us is done."""
    with _lock:
        _silenced.append(gymnasium.logger.min_level)
        gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        with _lock:
            level = _silenced.pop()
            if not _silenced:
                gymnasium.logger.min_level = level
