"""Several processes that train together: how they find each other, agree, share a checkpoint, and end.

Process 0 speaks for all: it alone prints, evaluates, logs and writes. What it writes of arrays that are spread over processes
it is sent, some of them at a time, so a checkpoint is the same whoever saved it and any number of processes goes on from it.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import time
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mjx_sac.config import Config, TrainingError, UsageError, check_even_split
from mjx_sac.training.compiled import sharding
from mjx_sac.training.host import device

JOIN_SECONDS = 120
"""All processes must have come within this time of each other."""

HEARTBEAT_SECONDS = 30
"""A process that has not been heard of for so long is given up. One whose connections close is given up at once."""

_state: dict[str, Any] = {"joined": False, "last_words": b"", "code": 3}


def start(config: Config) -> None:
    """Joins the other processes, where there are some. JAX must not have been used before.

    Raises:
      UsageError: they cannot be found, or do not fit.
    """
    _state["joined"] = jax.distributed.is_initialized()  # a program of the user's may have done so
    if config.coordinator is None or joined():
        return
    where: dict[str, Any] = (
        {}
        if config.coordinator == "cluster"
        else {
            "coordinator_address": config.coordinator,
            "num_processes": config.num_processes,
            "process_id": config.process_id,
        }
    )
    _check_address(config)
    _last_words(_missing(config), 2)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from us
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=JOIN_SECONDS,
        )
        _state["joined"] = True
        _check_alike(config)
    except (RuntimeError, ValueError) as error:
        told = str(error).strip().partition("\n")[0]
        raise UsageError(f"coordinator = {config.coordinator!r}: {told}: {_HINT}") from None
    _last_words(_LOST, 3)


_HINT = "are --num_processes and --process_id of every process right?"
_LOST = (
    "another process of this run has ended or cannot be reached: its own last line says why; the same command in all processes "
    "goes on from the newest checkpoint"
)


def _missing(config: Config) -> str:
    return f"coordinator = {config.coordinator!r}: not all processes came within {JOIN_SECONDS} s: {_HINT}"


def _check_address(config: Config) -> None:
    """Says in our words what JAX would only abort with: nobody listens there, or somebody else does."""
    if config.coordinator in (None, "cluster"):
        return
    host, _, port = config.coordinator.rpartition(":")
    if config.process_id == 0:
        try:
            with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("::" if socket.has_ipv6 else "", int(port)))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(
                f"coordinator = {config.coordinator!r}: port {port} cannot be listened on ({why}): choose another"
            ) from None
        return
    until = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > until:
                why = getattr(error, "strerror", None) or error
                raise UsageError(
                    f"coordinator = {config.coordinator!r}: no answer for {JOIN_SECONDS} s ({why}): does process 0 run there, "
                    f"and is the port open?"
                ) from None
            time.sleep(0.5)


def _check_alike(config: Config) -> None:
    """Before the first exchange, in which processes that disagree about their number would wait for ever.

    Raises:
      UsageError: in every process, if they were not started alike.
    """
    apart = (
        "process_id",
        "coordinator",
        "num_processes" if config.coordinator == "cluster" else "",
    )
    plain = {
        name: value for name, value in config.model_dump(mode="json").items() if name not in apart
    }
    _agree(
        "start",
        {**plain, "JAX": jax.__version__},
        "start all of them with the same flags, --process_id apart",
    )


def check_same_run(latest: int | None) -> None:
    """That all see the same checkpoints.

    Raises:
      UsageError: in every process, if the run's directory is not shared.
    """
    if joined():
        _agree("run", {"newest checkpoint": latest}, "choose a --logdir that all processes share")


def _agree(topic: str, mine: dict[str, Any], way_out: str) -> None:
    """Raises UsageError in every process unless all say the same. They speak through the coordinator, no device takes part."""
    from jax._src.distributed import (
        global_state,  # JAX has no public name for it; Orbax uses it too
    )

    client, me, milliseconds = (
        cast(Any, global_state.client),
        global_state.process_id,
        JOIN_SECONDS * 1000,
    )
    client.key_value_set(f"mjx-sac/{topic}/{me}", json.dumps(mine))
    if me == 0:
        theirs = [
            json.loads(client.blocking_key_value_get(f"mjx-sac/{topic}/{i}", milliseconds))
            for i in range(global_state.num_processes)
        ]
        differing = [
            f"{name} = {value!r} in process 0, {other.get(name)!r} in process {i}: {way_out}"
            for i, other in enumerate(theirs)
            for name, value in theirs[0].items()
            if other.get(name) != value
        ]
        client.key_value_set(f"mjx-sac/{topic}/verdict", differing[0] if differing else "")
    verdict = client.blocking_key_value_get(f"mjx-sac/{topic}/verdict", milliseconds)
    if not verdict:
        return
    _last_words(
        verdict, 2
    )  # said even if process 0, and the coordinator with it, is gone before this process has raised
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # so too here
        client.wait_at_barrier(f"mjx-sac/{topic}/read", milliseconds)
    raise UsageError(verdict)


def primary() -> bool:
    """Whether this process speaks for all."""
    return not joined() or jax.process_index() == 0


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Of each flag whether it is set in any process. All processes must ask."""
    if jax.process_count() == 1:
        return flags
    return tuple(
        bool(flag) for flag in np.any(multihost_utils.process_allgather(np.array(flags)), axis=0)
    )


def leave() -> None:
    """Parts from the others when all have come here."""
    if _state["joined"]:
        jax.distributed.shutdown()
        _state["joined"] = False


def joined() -> bool:
    """Whether there are others who count on this process."""
    return bool(_state["joined"])


def lost(error: Exception) -> TrainingError | None:
    """What `error` means, if it came of another process's end."""
    if _state["joined"] and re.search(
        r"gloo|nccl|rccl|coordination|peer|socket|heartbeat", str(error), re.IGNORECASE
    ):
        return TrainingError(_LOST)
    return None


def mesh(config: Config) -> Mesh | None:
    """The devices that share the work; None for one.

    Raises:
      UsageError: there are not so many.
    """
    there, together = jax.device_count(), jax.process_count()
    wanted = config.num_devices or (there if together > 1 else 1)
    kind = jax.devices()[0].platform
    if together > 1 and wanted != there:
        raise UsageError(
            f"num_devices = {wanted}: {together} processes have {there} {kind} devices, all of which take part: make it {there}"
        )
    if wanted > there:
        cpu = kind == "cpu"
        ready = device.cores() if cpu and wanted > device.cores() else there
        more = (
            f"; XLA_FLAGS=--xla_force_host_platform_device_count={wanted} makes so many of a CPU"
            * cpu
        )
        raise UsageError(
            f"num_devices = {wanted}: JAX finds {there} ({kind}): make it {ready}{more}"
        )
    if wanted == 1:
        return None
    try:
        check_even_split(config, wanted)
    except ValueError as error:
        raise UsageError(str(error)) from None
    axis = sharding.AGENT_AXIS if config.is_population else sharding.ENV_AXIS
    return Mesh(np.array(jax.devices()[:wanted]), (axis,), axis_types=(jax.sharding.AxisType.Auto,))


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _abort(_: int) -> None:
    os.write(2, _state["last_words"])
    os._exit(_state["code"])


def _last_words(line: str, code: int) -> None:
    """JAX's client aborts the process from a thread of its own when the coordinator is gone or gives a process up. Nothing can
    be caught then, but a handler of the signal in that very thread can say what happened, and choose the exit code.
    """
    _state.update(last_words=f"mjx-sac: {line}\n".encode(), code=code)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_abort, ctypes.c_void_p))
