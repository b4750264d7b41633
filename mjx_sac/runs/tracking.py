"""Where a run's curves go beside TensorBoard: trackers, each in a thread and process of its own.

    training --queue--> thread --messages--> `tracker_process.py`, which knows the tracker

One that fails, hangs or dies costs a warning: nothing here waits for it but `close`.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Protocol

from mjx_sac.config import Config

START_SECONDS = 300.0
"""A tracker has so long to be imported and to open what it writes to, """
ANSWER_SECONDS = 60.0
"""so long for each message, """
FINISH_SECONDS = 60.0
"""and so long to finish when training has ended."""
PROBE_SECONDS = 10.0
"""A server has so long for its first answer."""
ROOM = 1000
"""Messages that wait for a tracker; it misses what comes beyond them."""


Value = float | tuple[list[float], list[float]]
"""A scalar, or a histogram: the share in each bin, and the edges of bins."""


class Logger(Protocol):
    """What takes the hyperparameters, values by tag and films (GIF) of one agent, and an end:
    finished, failed or killed.
    """

    def hyperparameters(self, config: Mapping[str, Any]) -> None: ...
    def log(self, iterations: int, metrics: Mapping[str, Value]) -> None: ...
    def film(self, iterations: int, path: Path) -> None: ...
    def close(self, status: str) -> None: ...


class TrackedRun:
    """One agent's run in a tracker, a `Logger`."""

    def __init__(self, about: Mapping[str, Any], send: Callable[..., None]) -> None:
        self._about, self._send = about, send

    def hyperparameters(self, config: Mapping[str, Any]) -> None:
        self._send(begin={**self._about, "config": dict(config)})

    def log(self, iterations: int, metrics: Mapping[str, Value]) -> None:
        self._send(iterations=iterations, log=dict(metrics))

    def film(self, iterations: int, path: Path) -> None:
        self._send(iterations=iterations, film=str(path))

    def close(self, status: str) -> None:
        self._send(finish=status)


class Tracker:
    """A tracker's thread and process, for all agents of a run."""

    def __init__(self, name: str, directory: Path, config: Config, show: Callable[[str], None]):
        """Start it. `directory` is the run's; `show` shows the user a line."""
        self._name, self._directory, self._show = name, directory, show
        group = config.track_group or (str(directory) if config.is_population else "")
        # A sweep's runs lie at different depths.
        self._home = Path(group) if Path(group).is_absolute() else directory
        self._group = "/".join(Path(group).parts[-2:]) or None
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(ROOM)
        self._process: subprocess.Popen[bytes] | None = None
        self._warned = self._over = False
        self._thread = threading.Thread(target=self._work, name=f"track {name}", daemon=True)
        self._thread.start()

    def run(self, agent: str, facts: Mapping[str, Any]) -> TrackedRun:
        """Return what takes the curves of an agent; `facts` are kept beside hyperparameters."""
        name = "/".join((self._directory / agent).parts[-2:])
        about = {"name": name, "group": self._group, "facts": facts}

        def send(**message: Any) -> None:
            try:
                if not self._over:
                    self._queue.put_nowait({"agent": agent, **message})
            except queue.Full:
                self._warn(f"it is {ROOM} messages behind, and misses what comes meanwhile")

        return TrackedRun(about, send)

    def _work(self) -> None:
        """Start the process, and hand it one message after another."""
        try:
            with self._start() as link:
                self._listen(link, START_SECONDS)
                while message := self._queue.get():
                    text = json.dumps(message, default=str, ensure_ascii=False)
                    # A path may hold bytes that are no UTF-8.
                    link.send_bytes(text.encode(errors="replace"))
                    self._listen(link, ANSWER_SECONDS)
            assert self._process
            self._process.wait(FINISH_SECONDS)
        except TimeoutError as error:
            self._warn(f"given up, {error}")
        except (OSError, EOFError, subprocess.TimeoutExpired):
            self._warn("given up, its process has ended")
        self._kill()

    def _start(self) -> Connection:
        folder = self._directory / "tracking"
        folder.mkdir(parents=True, exist_ok=True)
        ours, theirs = Pipe()
        script, number = Path(__file__).with_name("tracker_process.py"), theirs.fileno()
        arguments = (self._name, number, self._directory, self._home, PROBE_SECONDS)
        with theirs, (folder / f"{self._name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[number],
                # Ctrl-C is for training. (In a session of its own `nice` would do nothing.)
                process_group=0,
            )
        return ours

    def _listen(self, link: Connection, seconds: float) -> None:
        """Show what is answered; raise TimeoutError where nothing is."""
        if not link.poll(seconds):
            raise TimeoutError(f"no answer for {seconds:.0f} s")
        answer = json.loads(link.recv_bytes())
        for line in answer.get("say", ()):
            self._say(line)
        if "error" in answer:
            self._warn(answer["error"])

    def _say(self, line: str) -> None:
        if not self._over:
            word = "warning: "
            self._show(f"{word * line.startswith(word)}{self._name}: {line.removeprefix(word)}")

    def _warn(self, reason: str) -> None:
        """Warn, but once."""
        if not self._warned:
            self._warned = True
            self._say(f"warning: {reason} ({self._directory}/tracking/{self._name}.log says more)")

    def _kill(self) -> None:
        self._over = True
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self, deadline: float) -> None:
        """Wait until all is written, until `deadline`, a time of `time.monotonic`, at most."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=max(deadline - time.monotonic(), 0))
        self._thread.join(max(deadline - time.monotonic(), 0))
        if self._thread.is_alive():
            self._warn(f"given up, not finished within {FINISH_SECONDS:.0f} s")
            self._kill()


def close(trackers: Sequence[Tracker]) -> None:
    """Close all within `FINISH_SECONDS`."""
    deadline = time.monotonic() + FINISH_SECONDS
    for tracker in trackers:
        tracker.close(deadline)
