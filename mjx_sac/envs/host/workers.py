"""One Gymnasium environment, here or in a process of its own: whatever goes wrong in it is told with its number and its step."""

# pyright: basic
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from mjx_sac.envs.host.protocol import BrokenEnvironmentError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Guard(gymnasium.Env):
    """Environment `index`. It is made at its first reset, so that a failure there is told like any other.

    Holds actions, flattens observations, and refuses what does not fit the space.

    Attributes:
      busy: the environment has been asked something and has not answered.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        index: int,
        expected: tuple[spaces.Space, spaces.Space],
        episode_length: int,
        action_repeat: int,
    ) -> None:
        """`expected` are the observation and action spaces that it must have."""
        self._make, self._index, self._spaces = make, index, expected
        self._limit, self._repeat, self._length, self._steps = episode_length, action_repeat, 0, 0
        self._env: gymnasium.Env | None = None
        self.observation_space = spaces.Box(
            -np.inf, np.inf, (spaces.flatdim(expected[0]),), np.float32
        )
        self.action_space, self.busy = expected[1], False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        with self._blamed():
            if self._env is None:
                self._env = self._make()
                if (self._env.observation_space, self._env.action_space) != self._spaces:
                    raise ValueError("its spaces differ from those of the environment made first")
            observation, _ = self._env.reset(seed=seed, options=options)
        self._length = 0
        return self._flat(observation), {}  # infos cost time and go nowhere

    def step(self, action: Any) -> Any:
        """Holds the action for `action_repeat` steps, or until the episode ends. `infos["held"]` says if it was less."""
        assert self._env
        total, terminated, truncated, held, most = (
            0.0,
            False,
            False,
            0,
            min(self._repeat, self._limit - self._length),
        )
        observation = None
        while held < most and not (terminated or truncated):
            held, self._steps = held + 1, self._steps + 1
            with self._blamed():
                observation, reward, terminated, truncated, _ = self._env.step(action)
                total, terminated, truncated = (
                    total + float(reward),
                    bool(terminated),
                    bool(truncated),
                )
        self._length += held
        return (
            self._flat(observation),
            total,
            terminated,
            truncated,
            {} if held == self._repeat else {"held": held},
        )

    def close(self) -> None:
        if self._env is not None:
            self._env.close()

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        except (Exception, SystemExit) as error:
            raise BrokenEnvironmentError(
                f"{self._place()} raised {type(error).__name__}: {error}"
            ) from error
        self.busy = False

    def _place(self) -> str:
        return f"environment {self._index}, at its step {self._steps:,},"

    def _flat(self, observation: Any) -> np.ndarray:
        try:
            flat = flatten(self._spaces[0], observation, 1)[0]
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise BrokenEnvironmentError(
                f"{self._place()} returned an observation that does not fit its space: {error}"
            ) from None
        if flat.shape != self.observation_space.shape:
            size = spaces.flatdim(self.observation_space)
            raise BrokenEnvironmentError(
                f"{self._place()} returned {flat.size} numbers, its observation space has {size}"
            )
        return flat


def flatten(space: spaces.Space, observation: Any, n: int) -> np.ndarray:
    """`n` observations as rows of numbers."""
    if isinstance(space, spaces.Box):
        return np.array(observation, np.float32).reshape(n, -1)
    assert isinstance(space, spaces.Dict | spaces.Tuple)
    parts = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
    return np.concatenate([flatten(part, observation[key], n) for key, part in parts], axis=-1)


class Workers(AsyncVectorEnv):
    """Environments in a process each, none of which outlives this one or keeps it from ending.

    Attributes:
      awaited: the environment whose answer is waited for.
    """

    def __init__(self, makers: Sequence[Callable[[], Guard]]) -> None:
        self.awaited, self.processes = 0, []
        resource_tracker.ensure_running()  # or its start, with that of the first worker, would let the signals through again
        # A terminal or a scheduler sends them to all processes, and the trainer, which is to save first, needs its workers. They
        # inherit what is blocked here, so there is no moment at which they would die of it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            super().__init__(
                [_Worker(make) for make in makers],
                shared_memory=False,  # it would be gone before a slow worker finds it
                autoreset_mode=AutoresetMode.DISABLED,
                context="spawn",  # not forked: JAX's threads would be caught in the middle of what they do
            )
        except BaseException:  # too many processes or files
            self.close_extras()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _check_spaces(self) -> None:
        """Every guard has the same. Not asked here, where a worker that does not answer has no name yet."""

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
                    text = (
                        f"environment {index}: its process has ended (exit code {process.exitcode})"
                    )
                    raise BrokenEnvironmentError(text) from error
            raise

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """At once: a worker that hangs would not answer a request to end."""
        for process in self.processes:
            if process.pid is not None:
                process.kill()


class _Worker:
    """What a worker calls first: ties it to the process that started it."""

    def __init__(self, make: Callable[[], Guard]) -> None:
        self._make, self._trainer = make, os.getpid()

    def __call__(self) -> Guard:
        if os.getpid() != self._trainer:
            # The kernel ends it with the thread that started it, even if the environment holds Python's lock for ever.
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            threading.Thread(target=self._watch, daemon=True).start()
            for number in _SIGNALS:  # not SIG_IGN or blocked any longer, which programs that the environment starts would inherit
                signal.signal(number, lambda *_: None)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self._make()

    def _watch(self) -> None:
        while os.getppid() == self._trainer:
            time.sleep(0.2)
        os._exit(1)
