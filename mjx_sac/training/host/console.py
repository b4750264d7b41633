"""What a person sees during a run: a progress bar in a terminal, plain lines elsewhere."""

import os
import sys
import threading
import time
from typing import Self, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_HEARTBEAT_SECONDS = 8.0
_SHORT_PHASES = ("evaluating", "saving", "done")
"""Over in a moment: no line of their own, but the heartbeat names one that takes long."""


def print_line(text: str, out: TextIO | None = None) -> None:
    """Print a line; a reader that has left (`| head`) loses what follows but does not end a run."""
    stream = sys.stdout if out is None else out
    try:
        print(text, flush=True, file=stream)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        self._out = open(os.devnull, "w") if quiet else sys.stdout  # noqa: SIM115
        self._rich = RichConsole(file=self._out, force_terminal=terminal)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._lock = threading.RLock()  # re-entrant: a signal handler writes too
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        if not self._rich.is_terminal:
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
        """Show how far the run is.

        Args:
          iterations: done so far.
          rates: iterations and gradient updates per second.
          reward: mean return of the last evaluation, or else of the last training episodes; of
            several agents their mean.
        """
        self._iterations = iterations
        left = max(self.total - iterations, 0) / max(rates[0], 1e-9)
        per_second = zip(rates, ("it", "updates"), strict=True)
        parts = [f"{rate:,.0f} {unit}/s{self._each}" for rate, unit in per_second]
        parts += [f"return {reward:,.1f}"] if reward is not None else []
        status = "  ".join([*parts, f"ETA {_clock(left)}"])
        if self._bar:
            self._bar.update(self._task, completed=min(iterations, self.total), status=status)
        else:
            self.message(f"{iterations:,}/{self.total:,} iterations  {status}")

    def message(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._last_line = time.monotonic()
            if self._bar:
                self._rich.print(text, highlight=False, markup=False)
            else:
                print_line(f"[{_clock(self._last_line - self._started)}] {text}", self._out)

    def _beat(self) -> None:
        while not self._stop.wait(0.5):
            now = time.monotonic()
            if now - self._last_line > _HEARTBEAT_SECONDS:
                place = f" after {self._iterations:,} iterations" if self._iterations else ""
                self.message(f"{self._phase}{place}, for {now - self._phase_started:.0f} s")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
