"""Signals, sent to this very process."""

import os
import signal

import pytest

from mjx_sac.training.host.console import Console
from mjx_sac.training.host.interrupt import Interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_first_epoch_a_signal_ends_at_once(number):
    before = signal.getsignal(number)
    with Console(1) as console, Interrupt(console) as interrupt:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert interrupt.received
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_later_it_waits_for_the_epoch_and_a_second_does_not(number, capsys):
    with Console(1) as console, Interrupt(console) as interrupt:
        interrupt.patient = True
        os.kill(os.getpid(), number)
        assert interrupt.received
        assert "finishing this epoch and saving" in capsys.readouterr().out
        assert {signal.getsignal(each) for each in SIGNALS} == {signal.SIG_DFL}
