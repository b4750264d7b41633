"""Which device XLA compiles for, where it keeps compiled programs, and tracing and compiling in good time."""

import contextlib
import gc
import importlib.util
import os
import pathlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import jax

from mjx_sac.config import UsageError

_threads: list[threading.Thread] = []


def set_up(device: str, deterministic: bool = False, num_devices: int | None = None) -> None:
    """Chooses the device, and keeps compiled programs in a private directory of the user's, which makes later starts fast.

    Args:
      device: `auto`, `cpu`, `gpu` or `tpu`.
      deterministic: the same program gives the same bits on a GPU too.
      num_devices: how many of them this process is to have; each core of a CPU can be one.

    Raises:
      UsageError: JAX finds no such device.
    """
    if deterministic:  # before JAX looks for devices; XLA's own way to refuse every kernel whose sums change their order
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    if device != "auto":
        gpu = "rocm" if importlib.util.find_spec("jax_rocm7_plugin") else "cuda"
        # The CPU beside it, for environments on the host.
        jax.config.update("jax_platforms", {"gpu": f"{gpu},cpu", "tpu": "tpu,cpu"}.get(device, device))
    _divide_cpu(num_devices or 1)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter says nothing: JAX_PLATFORMS=cuda where there is no GPU
        told = str(error).partition("\n")[0] or f"JAX finds none with JAX_PLATFORMS = {jax.config.values['jax_platforms']!r}"
        raise UsageError(f"device = {device!r}: {told}") from None
    if device != "auto" and jax.default_backend() != device:
        raise UsageError(f"device = {device!r}: JAX already runs on {jax.default_backend()} in this process: start a new one")
    if jax.config.values["jax_compilation_cache_dir"] is None:
        try:
            cache().mkdir(parents=True, exist_ok=True, mode=0o700)
        except (OSError, RuntimeError):
            return  # a home that cannot be written to costs time, not the run
        jax.config.update("jax_compilation_cache_dir", str(cache()))
        # Small ones too, of which loading a model takes some sixty; JAX keeps what took a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cores() -> int:
    """Of the CPU, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _divide_cpu(num_devices: int) -> None:
    """Makes a device of each of so many cores. JAX must not have been used before: it counts its devices once."""
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if num_devices == 1 and not told:
        return
    # XLA has a thread for each core or, if they are more, each device. While all are busy with a device's program, parts that the
    # programs hand on find none, and all wait for ever: ant on two devices of two cores did.
    os.environ.setdefault("NPROC", str(cores() + num_devices))
    if not told and num_devices <= cores():
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", num_devices)


def cache() -> pathlib.Path:
    """Where compiled programs are kept, unless JAX is told otherwise.

    Raises:
      RuntimeError: the user has no home.
    """
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mjx-sac" / "xla"


def options(platform: str | None = None) -> dict[str, str | bool]:
    """XLA's compiler options for the epoch, on the platform that JAX runs on unless told otherwise.

    Not to copy what nobody reads any more: on a CPU all parameters at every turn of the scan over updates, which takes 5 % of its
    time; on a GPU what comes out of the branch that waits for warm-up to end, 98 launches per vector step of ant.
    """
    platform = platform or jax.default_backend()
    return {f"xla_{platform}_copy_insertion_use_region_analysis": True} if platform in ("cpu", "gpu") else {}


@contextlib.contextmanager
def without_garbage_collection() -> Generator[None]:
    """For tracing: it makes many objects that stay, and Python would spend a quarter of the time looking for others."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def in_background(function: Callable[[], Any]) -> Future[Any]:
    """Calls it in a thread of its own."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    _threads.append(thread)
    thread.start()
    return future


def busy() -> bool:
    """Whether something is being compiled, which cannot be stopped: a Python that exits now would abort."""
    return any(thread.is_alive() for thread in _threads)
