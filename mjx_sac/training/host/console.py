"""What a person sees while a run goes on: a progress bar in a terminal, plain lines elsewhere."""

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_HEARTBEAT_SECONDS = 8.0


def print_line(text: str, out: TextIO | None = None) -> None:
    """Prints a line. That nobody listens any more (`| head`) must not end a run: what is said from then on is lost."""
    stream = sys.stdout if out is None else out
    try:
        print(text, flush=True, file=stream)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Console:
    """Shows the phase, the iterations and how fast they go. Nothing is silent for longer than the heartbeat.

    Attributes:
      total: iterations of the whole run, of each agent in it.
    """

    def __init__(
        self, total: int, agents: int = 1, *, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        """`quiet` says nothing: of several processes one speaks for all."""
        self.total = total
        self._each = f" x {agents} agents" if agents > 1 else ""
        self._started = self._said = time.monotonic()
        self._phase, self._phase_started = "starting", self._started
        self._iterations, self._status = 0, ""
        self._out = open(os.devnull, "w") if quiet else sys.stdout  # noqa: SIM115  # held on to: a noisy import may have it redirected while the heartbeat speaks
        self._rich = RichConsole(file=self._out, force_terminal=terminal)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._lock, self._stop = (
            threading.RLock(),
            threading.Event(),
        )  # re-entrant: a signal handler speaks too
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        if self._rich.is_terminal:
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
        else:
            self._heartbeat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._bar:
            self._bar.stop()

    def phase(self, name: str) -> None:
        """Something else begins: compiling, warm-up, training, evaluating, saving."""
        changed = name != self._phase
        self._phase, self._phase_started = name, time.monotonic()
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=name)
        elif changed and name not in (
            "evaluating",
            "saving",
            "done",
        ):  # over in a moment: the heartbeat tells of long ones
            self.message(name)

    def progress(
        self, iterations: int, rates: tuple[float, float] | None = None, reward: float | None = None
    ) -> None:
        """Shows how far the run is.

        Args:
          iterations: done so far.
          rates: iterations and gradient updates per second.
          reward: of the last evaluation, or of the last training episodes; of several agents their mean.
        """
        self._iterations = iterations
        parts: list[str] = []
        if rates:
            left = max(self.total - iterations, 0) / max(rates[0], 1e-9)
            parts = [
                f"{rates[0]:,.0f} it/s{self._each}",
                f"{rates[1]:,.0f} updates/s{self._each}",
                f"ETA {_clock(left)}",
            ]
        if reward is not None:
            parts.insert(max(len(parts) - 1, 0), f"return {reward:,.1f}")
        self._status = "  ".join(parts)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=min(iterations, self.total), status=self._status)
        elif parts:
            self.message(f"{iterations:,}/{self.total:,} iterations  {self._status}")

    def message(self, text: str) -> None:
        """One line that stays."""
        with self._lock:
            self._said = time.monotonic()
            if self._bar:
                self._rich.print(text, highlight=False, markup=False)
            else:
                print_line(f"[{_clock(self._said - self._started)}] {text}", self._out)

    def _beat(self) -> None:
        while not self._stop.wait(0.5):
            now = time.monotonic()
            if now - self._said > _HEARTBEAT_SECONDS:
                place = f" after {self._iterations:,} iterations" if self._iterations else ""
                self.message(f"{self._phase}{place}, for {now - self._phase_started:.0f} s")


def _clock(seconds: float) -> str:
    seconds = round(seconds)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes:02}:{seconds % 60:02}"
