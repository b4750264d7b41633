"""One Gymnasium environment, here or in its own process; errors name its number and its step."""

# pyright: basic
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import connection, resource_tracker
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from mjx_sac.envs.host.protocol import BrokenEnvironmentError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CheckedEnv(gymnasium.Env):
    """Environment `index`: holds actions, flattens observations, refuses what does not fit.

    It is made at its first reset, so that a failure there is reported like any other. It must have
    the `expected` spaces of observations and actions; `busy`: a call into it has not returned.
    """

    def __init__(
        self, make: Callable[[], gymnasium.Env], expected: Any, limit: int, repeat: int, index: int
    ) -> None:
        self._make, self._expected, self._index = make, expected, index
        self._limit, self._repeat = limit, repeat
        self._length = self._steps = 0  # of this episode, and of its life
        self._env: gymnasium.Env | None = None
        self.busy = False
        self.observation_space = spaces.Box(-np.inf, np.inf, (spaces.flatdim(expected[0]),))
        self.action_space = expected[1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        with self._blamed():
            if self._env is None:
                self._env = self._make()
                if (self._env.observation_space, self._env.action_space) != self._expected:
                    raise ValueError("its spaces differ from those of the environment made first")
            observation, _ = self._env.reset(seed=seed, options=options)
        self._length = 0
        return self._flat(observation), {}  # infos cost time and go nowhere

    def step(self, action: Any) -> Any:
        """Hold the action for `repeat` steps; if the episode ends before, for `infos["held"]`."""
        assert self._env
        observation, total, terminated, truncated, held = None, 0.0, False, False, 0
        most = min(self._repeat, self._limit - self._length)
        while held < most and not (terminated or truncated):
            held += 1
            self._steps += 1
            with self._blamed():
                observation, reward, terminated, truncated, _ = self._env.step(action)
                total += float(reward)
                terminated, truncated = bool(terminated), bool(truncated)
        self._length += held
        infos = {} if held == self._repeat else {"held": held}
        return self._flat(observation), total, terminated, truncated, infos

    def close(self) -> None:
        if self._env is not None:
            self._env.close()

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        except (Exception, SystemExit) as error:
            text = f"{self._place()} raised {type(error).__name__}: {error}"
            raise BrokenEnvironmentError(text) from error
        self.busy = False

    def _place(self) -> str:
        return f"environment {self._index}, at its step {self._steps:,},"

    def _flat(self, observation: Any) -> np.ndarray:
        return flatten(self._expected[0], observation, 1, self._place())[0]


def parts(space: spaces.Dict | spaces.Tuple) -> list[tuple[Any, spaces.Space]]:
    """Return keys and spaces of a Dict or Tuple, in flattening order."""
    return list(space.items() if isinstance(space, spaces.Dict) else enumerate(space))


def flatten(space: spaces.Space, observation: Any, n: int, who: str) -> np.ndarray:
    """Return `n` observations as rows [n, size], not rounded to the space's type.

    Raises:
      BrokenEnvironmentError: what `who` returned does not fit the space.
    """

    def rows(space: spaces.Space, observation: Any) -> np.ndarray:
        if isinstance(space, spaces.Box):
            return np.array(observation, np.float32).reshape(n, -1)
        assert isinstance(space, spaces.Dict | spaces.Tuple)
        return np.concatenate([rows(part, observation[key]) for key, part in parts(space)], axis=-1)

    try:
        flat = rows(space, observation)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        text = f"{who} returned an observation that does not fit its space: {error}"
        raise BrokenEnvironmentError(text) from None
    found, size = flat.shape[-1], spaces.flatdim(space)
    if found != size:
        text = f"{who} returned {found} numbers, its observation space has {size}"
        raise BrokenEnvironmentError(text)
    return flat


class WorkerVectorEnv(AsyncVectorEnv):
    """Environments in a process each, none of which outlives this one or keeps it from ending."""

    def __init__(self, makers: Sequence[Callable[[], CheckedEnv]]) -> None:
        self.awaited, self.processes = 0, []
        # Start it first: its start, with the first worker's, would let the signals through again.
        resource_tracker.ensure_running()
        # A terminal or a scheduler signals all processes, but the trainer, which saves first, needs
        # its workers. They inherit what is blocked here: at no moment can they die of a signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            super().__init__(
                [partial(_start, make, os.getpid()) for make in makers],
                shared_memory=False,  # it would be gone before a slow worker finds it
                autoreset_mode=AutoresetMode.DISABLED,
                context="spawn",  # a fork would catch JAX's threads in the middle of their work
            )
        except BaseException:  # too many processes or files
            self.close_extras()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _check_spaces(self) -> None:
        """Skip: `CheckedEnv` answers for its spaces, and a worker that hangs would not."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return self._ask(lambda: self.reset_async(seed, options), self.reset_wait)

    def step(self, actions: Any) -> Any:
        return self._ask(lambda: self.step_async(actions), self.step_wait)

    def _ask(self, ask: Callable[[], None], answer: Callable[[], Any]) -> Any:
        try:
            ask()
            for index, pipe in enumerate(self.parent_pipes):
                self.awaited = index
                pipe.poll(None)
            return answer()
        except (EOFError, OSError) as error:  # a pipe without anybody at its other end
            ended = connection.wait([process.sentinel for process in self.processes], 5)
            for index, process in enumerate(self.processes):
                if process.sentinel in ended:
                    process.join(5)  # it closes its files some moments before it has an exit code
                    text = f"its process has ended (exit code {process.exitcode})"
                    raise BrokenEnvironmentError(f"environment {index}: {text}") from error
            raise

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Kill at once: a worker that hangs would not answer a request to end."""
        for process in self.processes:
            if process.pid is not None:
                process.kill()


def _start(make: Callable[[], CheckedEnv], trainer: int) -> CheckedEnv:
    """Tie the process to the one that started it, if that is another; make its environment."""
    if os.getpid() != trainer:
        # The kernel ends the worker with the thread that started it, even if the environment
        # holds Python's lock for ever.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        threading.Thread(target=_watch, args=(trainer,), daemon=True).start()
        # Programs that the environment starts would inherit SIG_IGN or a blocked signal.
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return make()


def _watch(trainer: int) -> None:
    while os.getppid() == trainer:
        time.sleep(0.2)
    os._exit(1)
