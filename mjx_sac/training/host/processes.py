"""Several processes that train together: how they find each other, agree, and end.

Process 0 speaks for all: it alone prints, evaluates, logs and writes, and the others send it their
parts of arrays. So a checkpoint is the same from any number of processes, and resumes on any.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import time
from collections.abc import Generator
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mjx_sac.config import Config, TrainingError, UsageError, check_even_split, surroundings
from mjx_sac.training.compiled import sharding
from mjx_sac.training.host import device

JOIN_SECONDS = 120
"""All processes must have come within this time of each other."""

HEARTBEAT_SECONDS = 30
"""A process that is silent for so long is given up; one whose connections close, at once."""

_SETTINGS = (
    *("jax_platforms", "jax_compilation_cache_dir", "jax_enable_preemption_service"),
    "jax_persistent_cache_min_compile_time_secs",
)
_HINT = "are --num_processes and --process_id of every process right?"
_LOST = (
    "another process of this run has ended or cannot be reached: its own last line says why; the "
    "same command in all processes resumes from the newest checkpoint"
)
_state: dict[str, Any] = {"joined": False, "last_words": b"", "code": 3}


@contextlib.contextmanager
def as_found() -> Generator[None]:
    """Put back what `start` and `set_up` set for the whole process.

    How many devices there are, and XLA's flags, are read once in a process: they stay.
    """
    settings = {name: jax.config.values[name] for name in _SETTINGS}
    variables = {name: os.environ.get(name) for name in ("XLA_FLAGS", "NPROC")}
    try:
        yield
    finally:
        for name, text in variables.items():
            os.environ.pop(name, None)
            os.environ.update({} if text is None else {name: text})
        device.keep_programs_in(settings.pop("jax_compilation_cache_dir"))
        for name, value in settings.items():
            jax.config.update(name, value)
        if "handler" in _state and not surroundings.own():
            _handle_abort(_state.pop("handler"))


def start(config: Config) -> None:
    """Join the other processes, where there are some. JAX must not have been used before.

    Raises:
      UsageError: they cannot be found, or do not fit.
    """
    _state["joined"] = jax.distributed.is_initialized()  # a user's program may have done so
    if config.coordinator is None or joined():
        return
    address = None if config.coordinator == "cluster" else config.coordinator
    if address:
        _check_address(config)
    missing = f"not all processes came within {JOIN_SECONDS} s: {_HINT}"
    _set_last_words(str(_refusal(config, missing)), 2)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from us
    try:
        jax.distributed.initialize(
            address,
            config.num_processes,  # None, as is the next, where the cluster says
            config.process_id,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=JOIN_SECONDS,
        )
        _state["joined"] = True
        _check_alike(config)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise _refusal(config, f"{reason}: {_HINT}") from None
    _set_last_words(_LOST, 3)


def _refusal(config: Config, message: str) -> UsageError:
    return UsageError(f"coordinator = {config.coordinator!r}: {message}")


def _check_address(config: Config) -> None:
    """Raise UsageError, where JAX would abort, if nobody or somebody else listens there."""
    host, _, port = str(config.coordinator).rpartition(":")
    first, deadline = config.process_id == 0, time.monotonic() + JOIN_SECONDS
    while True:
        try:
            if not first:
                return socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                return listener.bind(("", int(port)))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
        if first:
            raise _refusal(config, f"port {port} cannot be listened on ({reason}): choose another")
        if time.monotonic() > deadline:
            advice = "does process 0 run there, and is the port open?"
            raise _refusal(config, f"no answer for {JOIN_SECONDS} s ({reason}): {advice}")
        time.sleep(0.5)


def _check_alike(config: Config) -> None:
    """Raise UsageError in every process if they were not started alike.

    Before the first exchange: processes that disagree about their number would wait in it for ever.
    """
    own = {"process_id", "coordinator"}
    if config.coordinator == "cluster":
        own.add("num_processes")
    shared = {**config.model_dump(mode="json", exclude=own), "JAX": jax.__version__}
    _agree("start", shared, "start all of them with the same flags, except --process_id")


def _agree(topic: str, mine: dict[str, Any], way_out: str) -> None:
    """Raise UsageError in every process unless all say the same.

    They speak through the coordinator; no device takes part.
    """
    from jax._src.distributed import global_state  # JAX has no public name; Orbax uses it too

    client, key = cast(Any, global_state.client), f"mjx-sac/{topic}"
    timeout_ms = JOIN_SECONDS * 1000
    client.key_value_set(f"{key}/{global_state.process_id}", json.dumps(mine))
    if global_state.process_id == 0:
        ids = range(global_state.num_processes)
        said = [client.blocking_key_value_get(f"{key}/{i}", timeout_ms) for i in ids]
        differing = [
            f"{name} = {value!r} in process 0, {theirs.get(name)!r} in process {i}: {way_out}"
            for i, theirs in enumerate(map(json.loads, said))
            for name, value in mine.items()
            if theirs.get(name) != value
        ]
        client.key_value_set(f"{key}/verdict", differing[0] if differing else "")
    verdict = client.blocking_key_value_get(f"{key}/verdict", timeout_ms)
    if not verdict:
        return
    # Process 0, and the coordinator with it, may be gone before this one has raised.
    _set_last_words(verdict, 2)
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.wait_at_barrier(f"{key}/read", timeout_ms)
    raise UsageError(verdict)


def primary() -> bool:
    """Return whether this process speaks for all."""
    return not joined() or jax.process_index() == 0


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is set in any process. All processes must ask."""
    if jax.process_count() == 1:
        return flags
    anywhere = np.any(multihost_utils.process_allgather(np.array(flags)), axis=0)
    return tuple(bool(flag) for flag in anywhere)


def from_first(value: Any) -> Any:
    """Return process 0's `value`, which is for JSON, in every process. All must ask."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8) if primary() else np.zeros(0)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    room = np.zeros(1 << size.bit_length(), np.uint8)  # of few sizes: for each a program compiles
    room[: text.size] = text
    return json.loads(multihost_utils.broadcast_one_to_all(room)[:size].tobytes())


def leave() -> None:
    """Part from the others when all have come here."""
    if _state["joined"]:
        jax.distributed.shutdown()
        _state["joined"] = False


def joined() -> bool:
    """Return whether there are others who count on this process."""
    return bool(_state["joined"])


def lost(error: Exception) -> TrainingError | None:
    """Return what `error` means, if another process's end caused it."""
    signs = r"gloo|nccl|rccl|coordination|peer|socket|heartbeat"
    return TrainingError(_LOST) if joined() and re.search(signs, str(error), re.I) else None


def set_up(config: Config, latest: int | None) -> Mesh | None:
    """Choose this process's devices, and return those of all that share the work; see `mesh`.

    `latest` has the iterations of the checkpoint that this process would resume from.
    """
    device.set_up(config.device, config.deterministic, None if joined() else config.num_devices)
    if joined():
        _agree("run", {"newest checkpoint": latest}, "choose a --logdir that all processes share")
    return mesh(config)


def mesh(config: Config) -> Mesh | None:
    """Return the devices that share the work, None for one; UsageError where they cannot."""
    there, together = jax.device_count(), jax.process_count()
    wanted = config.num_devices or (there if together > 1 else 1)
    kind = jax.devices()[0].platform
    if together > 1 and wanted != there:
        problem = f"{together} processes have {there} {kind} devices, all of which take part"
        raise UsageError(f"num_devices = {wanted}: {problem}: make it {there}")
    if wanted > there:
        ready, more = there, ""
        if kind == "cpu":
            ready = device.cores() if wanted > device.cores() else there
            flag = f"--xla_force_host_platform_device_count={wanted}"
            more = f"; XLA_FLAGS={flag} makes so many of a CPU"
        problem = f"JAX finds {there} ({kind})"
        raise UsageError(f"num_devices = {wanted}: {problem}: make it {ready}{more}")
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


def _set_last_words(line: str, code: int) -> None:
    """Choose what this process says, and its exit code, should JAX's client abort it.

    The client does so in its thread when the coordinator is gone or gives a process up.
    Nothing can be caught then, but a handler of the signal in that very thread runs.
    """
    _state.update(last_words=f"mjx-sac: {line}\n".encode(), code=code)
    _state.setdefault("handler", _handle_abort(ctypes.cast(_abort, ctypes.c_void_p)))


def _handle_abort(handler: Any) -> Any:
    """Set C's handler of SIGABRT, and return the one before."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    return libc.signal(signal.SIGABRT, handler)
