"""What can be refused before processes meet; real ones meet in `tests/faults`."""

import socket

import pytest
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.training.host import processes


@pytest.mark.parametrize(
    ("process_id", "message"), [(1, "no answer"), (0, "cannot be listened on")]
)
def test_a_silent_or_taken_address_is_refused(monkeypatch, process_id, message):
    monkeypatch.setattr(processes, "JOIN_SECONDS", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = make_config(coordinator=address, num_processes=2, process_id=process_id)
        with pytest.raises(UsageError, match=f"coordinator = '{address}'.*{message}"):
            processes.start(config)


def test_a_port_that_cannot_exist_is_refused():
    config = make_config(coordinator="127.0.0.1:99999", num_processes=2, process_id=0)
    with pytest.raises(UsageError, match="port 99999 cannot be listened on"):
        processes.start(config)


def test_more_devices_than_there_are_is_refused():
    message = r"num_devices = 4: JAX finds \d \(cpu\): make it \d; XLA_FLAGS=--xla_force_host"
    with pytest.raises(UsageError, match=message):
        processes.mesh(make_config(num_envs=4, num_devices=4))


def test_one_process_alone_speaks_and_agrees_with_itself():
    assert processes.primary()
    assert processes.any_of(True, False) == (True, False)
    assert processes.mesh(make_config()) is None
    assert processes.lost(RuntimeError("heartbeat")) is None
