"""What a person sees during a run: a progress bar in a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import threading
import time
from typing import Any, Self, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from mjx_sac.config import surroundings

_HEARTBEAT_SECONDS = 8.0
_SHORT_PHASES = ("evaluating", "saving", "done")
"""Over in a moment: no line of their own, but the heartbeat names one that takes long."""

lost: dict[str, str] = {}
"""Why lines could not be written, under "reason"."""


class Unfailing:
    """Writes to `stream` at once, and never raises: what only informs ends nothing.

    A reader that has left (`| head`) or a full disk loses what follows.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = stream
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether a person reads it."""
        with contextlib.suppress(Exception):
            return self._stream.isatty()
        return False

    def write(self, text: str) -> None:
        """Write `text`, with question marks for what the stream cannot show."""
        try:
            if self._stream:
                self._stream.write(text)
                self._stream.flush()
        except Exception as error:  # of any kind: a program may have put anything in its place
            if isinstance(error, UnicodeError) and not text.isascii():
                return self.write(text.encode("ascii", "replace").decode())
            if not isinstance(error, BrokenPipeError):
                lost["reason"] = getattr(error, "strerror", None) or str(error)
            if isinstance(error, BrokenPipeError) or surroundings.own():
                with contextlib.suppress(Exception):  # what others print must not fail either
                    number = self._stream.fileno()
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)

    def flush(self) -> None:
        """Do nothing: `write` has."""


def print_line(text: str, out: TextIO | None = None) -> None:
    """Print a line; where that is not possible it is lost, and `lost` says why."""
    Unfailing(sys.stdout if out is None else out).write(f"{text}\n")


class Console:
    """Shows the phase, the iterations and their rate; never silent for longer than a heartbeat.

    Attributes:
      total: iterations of the whole run, per agent.
    """

    def __init__(
        self, total: int, agents: int = 1, *, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        """Prepare to show a run; `quiet` shows nothing, where another process speaks for all."""
        self.total = total
        self._each = f" x {agents} agents" if agents > 1 else ""
        self._started = self._last_line = self._phase_started = time.monotonic()
        self._phase, self._iterations = "starting", 0
        # Kept: a noisy import may have standard output redirected while the heartbeat writes.
        self._out: Any = Unfailing(None if quiet else sys.stdout)
        self._rich = RichConsole(file=self._out, force_terminal=terminal)
        shows_bar = self._out.encoding.lower().startswith("utf") and not self._rich.is_dumb_terminal
        self._terminal = self._out.isatty() and shows_bar if terminal is None else terminal
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._lock = threading.RLock()  # re-entrant: a signal handler writes too
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        if not self._terminal:
            threading.Thread(target=self._beat, daemon=True).start()
            return self
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=self._rich,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._phase, total=self.total, status="")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._bar:
            self._bar.stop()

    def phase(self, name: str) -> None:
        """Show that something else begins: compiling, warm-up, training, evaluating, saving."""
        changed = name != self._phase
        self._phase, self._phase_started = name, time.monotonic()
        if self._bar:
            self._bar.update(self._task, description=name)
        elif changed and name not in _SHORT_PHASES:
            self.message(name)

    def progress(self, iterations: int, rates: tuple[float, float], reward: float | None) -> None:
        """Show how far the run is; `rates` are iterations and gradient updates per second.

        `reward` is the mean return of the last evaluation, or else of the last training episodes;
        of several agents their mean.
        """
        self._iterations = iterations
        left = max(self.total - iterations, 0) / max(rates[0], 1e-9)
        per_second = zip(rates, ("it", "updates"), strict=True)
        parts = [f"{rate:,.0f} {unit}/s{self._each}" for rate, unit in per_second]
        parts += [f"return {reward:,.1f}"] if reward is not None else []
        status = "  ".join([*parts, f"ETA {clock(left)}"])
        if self._bar:
            self._bar.update(self._task, completed=min(iterations, self.total), status=status)
        else:
            self.message(f"{iterations:,}/{self.total:,} iterations  {status}")

    def message(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._last_line = time.monotonic()
            if self._bar:
                self._rich.print(text, highlight=False, markup=False, soft_wrap=True)
            else:
                self._out.write(f"[{clock(self._last_line - self._started)}] {text}\n")

    def _beat(self) -> None:
        while not self._stop.wait(0.5):
            now = time.monotonic()
            if now - self._last_line > _HEARTBEAT_SECONDS:
                place = f" after {self._iterations:,} iterations" if self._iterations else ""
                self.message(f"{self._phase}{place}, for {now - self._phase_started:.0f} s")


def clock(seconds: float, with_hours: bool = False) -> str:
    """Return such as `1:02:03`; without hours, where there are none, `02:03`."""
    minutes, seconds = divmod(round(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}:" if hours or with_hours else ""
    return f"{before}{minutes:02}:{seconds:02}"
