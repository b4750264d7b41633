"""Ctrl-C and SIGTERM."""

import signal
import threading
from typing import Any

from mjx_sac.training.host.console import Console


class Interrupt:
    """Ends the run after the current epoch, with a checkpoint; a second signal ends it at once.

    Attributes:
      patient: there is an epoch to wait for. Until then a signal raises KeyboardInterrupt at once.
      received: a signal came.
    """

    def __init__(self, console: Console) -> None:
        self.patient = self.received = False
        self._console = console
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not None:  # not Python's: could not be put back
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, *_: Any) -> None:
        self.received = True
        for number in self._previous:
            signal.signal(number, signal.SIG_DFL)
        if not self.patient:
            raise KeyboardInterrupt
        self._console.message("interrupted: finishing this epoch and saving; again ends at once")
