"""Signal handlers; what signals do to a run is in `tests/faults`."""

import signal

from mjx_sac.training.host.console import Console
from mjx_sac.training.host.interrupt import Interrupt


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt(Console(1, quiet=True)):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_of_another_language_is_left_alone(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as context:
        context.setattr(signal, "getsignal", lambda number: None)
        interrupt = Interrupt(Console(1, quiet=True)).__enter__()
    assert signal.getsignal(signal.SIGTERM) == before
    interrupt.__exit__()
