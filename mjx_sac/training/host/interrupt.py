"""Ctrl-C and SIGTERM."""

import signal
import threading
from typing import Any

from mjx_sac.training.host.console import Console


class Interrupt:
    """Ctrl-C or SIGTERM ends the run after the current epoch, with a checkpoint; a second one ends the process at once.

    Attributes:
      patient: there is an epoch to wait for. Until then a signal raises KeyboardInterrupt where it strikes.
      received: a signal came.
    """

    def __init__(self, console: Console) -> None:
        self.patient = self.received = False
        self._console, self._previous = console, {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        del number, frame
        self.received = True
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        if not self.patient:
            raise KeyboardInterrupt
        self._console.message(
            "interrupted: finishing this epoch and saving; once more ends at once"
        )
