"""Which device JAX runs on, and where it keeps compiled programs."""

import contextlib
import importlib.util
import os
import pathlib

import jax

from mjx_sac.config import UsageError


def set_up(device: str, deterministic: bool = False, num_devices: int | None = None) -> None:
    """Choose the device, and keep compiled programs in a private directory of the user's.

    Args:
      device: `auto`, `cpu`, `gpu` or `tpu`.
      deterministic: the same program gives the same bits on a GPU too.
      num_devices: how many this process is to have; each core of a CPU can be one.

    Raises:
      UsageError: JAX finds no such device.
    """
    if deterministic:  # before JAX looks for devices: XLA then refuses kernels that reorder sums
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = flags.strip()
    if device != "auto":
        gpu = "rocm" if importlib.util.find_spec("jax_rocm7_plugin") else "cuda"
        # The CPU beside it, for environments on the host.
        platforms = {"gpu": f"{gpu},cpu", "tpu": "tpu,cpu"}.get(device, device)
        jax.config.update("jax_platforms", platforms)
    _divide_cpu(num_devices or 1)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter is silent: JAX_PLATFORMS=cuda
        platforms = jax.config.values["jax_platforms"]
        reason = str(error).partition("\n")[0]
        reason = reason or f"JAX finds none with JAX_PLATFORMS = {platforms!r}"
        raise UsageError(f"device = {device!r}: {reason}") from None
    if device != "auto" and jax.default_backend() != device:
        raise UsageError(
            f"device = {device!r}: JAX already runs on {jax.default_backend()} in this process: "
            f"start a new one"
        )
    if jax.config.values["jax_compilation_cache_dir"] is None:
        try:
            cache().mkdir(parents=True, exist_ok=True, mode=0o700)
        except (OSError, RuntimeError):
            return  # a home that cannot be written to costs time, not the run
        jax.config.update("jax_compilation_cache_dir", str(cache()))
        # Small programs too: loading a model takes some sixty. JAX keeps what took a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cores() -> int:
    """Return how many cores of the CPU this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _divide_cpu(num_devices: int) -> None:
    """Make each of so many cores a device, before JAX counts its devices, which it does once."""
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if num_devices == 1 and not forced:
        return
    # XLA has a thread for each core or, if they are more, each device. Where all are busy with a
    # device's program, parts that the programs hand on find none, and all wait for ever: ant on
    # two devices of two cores did.
    os.environ.setdefault("NPROC", str(cores() + num_devices))
    if not forced and num_devices <= cores():
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", num_devices)


def cache() -> pathlib.Path:
    """Return where compiled programs are kept, unless JAX is configured otherwise.

    Raises:
      RuntimeError: the user has no home.
    """
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "mjx-sac" / "xla"
