"""Environments in a process each: how they start, how they are asked, and that all of them end."""

# pyright: basic
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import connection, resource_tracker
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from mjx_sac.config import UsageError, surroundings
from mjx_sac.envs.host import protocol
from mjx_sac.envs.host.checked import CheckedEnv

CLOSING = 3.0
"""Seconds that all environments together have to close."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_GUARD = """
import os, sys
sys.stdin.read()
for group in sys.argv[1:]:
    try:
        os.killpg(int(group), 9)
    except ProcessLookupError:
        pass
"""


class WorkerVectorEnv(AsyncVectorEnv):
    """Environments in a process each. Neither they nor the programs that they start outlive this
    one or keep it from ending, unless a program leaves its process group.
    """

    def __init__(self, makers: Sequence[Callable[[], CheckedEnv]]) -> None:
        protocol.leave_if_started_again()
        self.awaited, self.processes, self._guard = 0, [], None
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
            # It outlives a trainer that is killed just long enough to kill what that has started.
            groups = [str(process.pid) for process in self.processes]
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, *groups],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException as error:  # too many processes or files
            if isinstance(error, BrokenPipeError):
                self._name_the_ended(error)
            raise
        finally:
            if self._guard is None:
                self.kill()
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
            self._name_the_ended(error)
            raise

    def _name_the_ended(self, error: BaseException) -> None:
        """Raise what says which worker has ended, if one has."""
        ended = connection.wait([process.sentinel for process in self._started()], 5)
        for index, process in enumerate(self._started()):
            if process.sentinel in ended:
                process.join(5)  # it closes its files some moments before it has an exit code
                if process.exitcode == protocol.STARTED_AGAIN:
                    problem = "every worker begins to run your script again"
                    way_out = "put what trains under `if __name__ == '__main__':`"
                    raise UsageError(f"vectorization = 'async': {problem}: {way_out}") from None
                text = f"its process has ended (exit code {process.exitcode})"
                raise protocol.BrokenEnvironmentError(f"environment {index}: {text}") from error

    def _started(self) -> list[Any]:
        return [process for process in self.processes if process.pid is not None]

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Ask all to close their environments; kill what is left of them and of their programs."""
        deadline = time.monotonic() + (0 if terminate else CLOSING)
        for pipe in self.parent_pipes:
            with contextlib.suppress(OSError, AttributeError):  # has ended; closed after a failure
                pipe.send(("close", None))
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        late = [str(i) for i, process in enumerate(self.processes) if process.exitcode is None]
        if late and not terminate:
            protocol.warn(f"environment {', '.join(late)} had not closed after {CLOSING:g} seconds")
        self.kill()

    def kill(self) -> None:
        """Kill at once, from any thread: a worker that hangs answers no request to end."""
        self.closed = True  # nothing is left to do when Python ends and deletes this
        for process in self._started():
            process.kill()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._guard:
            self._guard.kill()
            self._guard.communicate()


def _start(make: Callable[[], CheckedEnv], trainer: int) -> CheckedEnv:
    """Prepare the process, if it is not the one that started it; make its environment."""
    env = make()
    if os.getpid() == trainer:
        return env
    env.alone = True
    surroundings.open_streams()  # it may print what a terminal cannot show
    gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    os.setpgrp()  # with the programs that its environment starts
    # The kernel ends the worker with the thread that started it, even if the environment holds
    # Python's lock for ever.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # Programs that the environment starts would inherit SIG_IGN or a blocked signal.
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return env
