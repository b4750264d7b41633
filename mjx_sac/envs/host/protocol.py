"""What the trainer asks of environments on the host. Needs no JAX."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np

STARTED_AGAIN = 79
"""Exit code of a worker process in which the user's script began to run again."""


class HostStep(NamedTuple):
    """The result of one step of all environments: a `types.Step` in NumPy, and more.

    Attributes:
      finite: observation and reward are finite numbers.
      steps: environment steps taken: fewer than `action_repeat` where the episode ended, none where
        the environment only began a new one (Gymnasium's next-step autoreset).
      current: what the policy sees next: a new episode's first observation where one has begun.
      metrics: what the environments reported, [num_envs, names]; None where they report nothing.
    """

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    finite: Any
    steps: Any
    current: Any
    metrics: Any = None


class BrokenEnvironmentError(Exception):
    """An environment failed; the message says which, when and why."""

    # Not a RuntimeError: contextlib takes one that StopIteration caused for its own.


class Simulator(Protocol):
    """`num_envs` environments on the host.

    `reset` begins a new episode everywhere and returns the observations. `step` begins one wherever
    an episode has ended or broken. `close` closes the environments, in the thread that stepped
    them. Other threads ask for `awaited`, the environment that has not answered yet, if known, and
    for `kill`, which ends what hangs, if it can be.
    """

    @property
    def awaited(self) -> int | None: ...
    def reset(self, seed: int) -> np.ndarray: ...
    def step(self, action: np.ndarray) -> HostStep: ...
    def close(self) -> None: ...
    def kill(self) -> None: ...


class HostEnvironment(Protocol):
    """An environment that lives on the host and can be trained on.

    `simulator` returns new ones, whose episodes end after `episode_length` steps; with `once` each
    plays one episode after a `reset` and may then take no more steps. `time_limit` is the number of
    steps after which one ends its episodes itself. It may have `reported`, names of numbers that it
    reports at every step, see `envs/reports.py`.
    """

    observation_size: int
    action_size: int
    time_limit: int | None

    def simulator(self, num_envs: int, episode_length: int, once: bool = False) -> Simulator: ...


def do(job: Callable[[], Any], future: Future[Any]) -> None:
    """Put what `job` returns or raises into `future`, for whoever waits for it."""
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)


def in_turn(*jobs: Callable[[], Any]) -> list[Future[Any]]:
    """Do them one after another in a daemon thread: one that hangs holds up nobody else."""
    futures: list[Future[Any]] = [Future() for _ in jobs]
    threading.Thread(target=lambda: [*map(do, jobs, futures)], daemon=True).start()
    return futures


_under_way: set[Future[Any]] = set()


def in_background(job: Callable[[], Any]) -> Future[Any]:
    """Do what cannot be stopped, such as to compile, in a daemon thread; see `busy`."""
    (future,) = in_turn(job)
    _under_way.add(future)
    future.add_done_callback(_under_way.discard)
    return future


def busy() -> bool:
    """Return whether something is done `in_background`: Python would wait or abort at exit."""
    return bool(_under_way)


def leave_if_started_again() -> None:
    """End a worker that runs the user's script, which has no main guard, before its own work."""
    this = multiprocessing.current_process()
    if getattr(this, "_inheriting", False) and "WorkerVectorEnv" in this.name:
        os._exit(STARTED_AGAIN)


def warn(text: str) -> None:
    """Say what went wrong but ends nothing, in one line."""
    logging.getLogger("mjx_sac").warning("mjx-sac: warning: %s", " ".join(text.split()))
