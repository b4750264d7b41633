"""Which device JAX runs on, and where it keeps compiled programs."""

import contextlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jax
from jax._src.xla_bridge import backends_are_initialized
from jax.experimental.compilation_cache import compilation_cache

from mjx_sac.config import UsageError, absolute

_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
NO_BFLOAT16 = (
    "this device has no products in bfloat16, --matmul_precision bfloat16 makes updates slower here"
)
_CPU = pathlib.Path("/proc/cpuinfo")
_asked_for = {"deterministic": False}


def set_up(device: str, deterministic: bool = False, num_devices: int | None = None) -> None:
    """Choose the device, and keep compiled programs in a private directory of the user's.

    If `deterministic`, the same program gives the same bits on a GPU too. Of the `num_devices` that
    this process is to have, each can be a core of a CPU.

    Raises:
      UsageError: JAX finds no such device, or has been used already and it is too late.
    """
    too_late = deterministic and not _make_deterministic()
    if device != "auto":
        gpu = "rocm" if importlib.util.find_spec("jax_rocm7_plugin") else "cuda"
        # The CPU beside it, for environments on the host.
        platforms = {"gpu": f"{gpu},cpu", "tpu": "tpu,cpu"}.get(device, device)
        jax.config.update("jax_platforms", platforms)
    _divide_cpu(num_devices or 1)
    if reason := problem():
        raise UsageError(f"device = {device!r}: {reason}")
    there = f"JAX already runs on {jax.default_backend()} in this process"
    if device != "auto" and jax.default_backend() != device:
        raise UsageError(f"device = {device!r}: {there}: start a new one")
    if too_late and jax.default_backend() == "gpu":
        way_out = f"start a new one, or set XLA_FLAGS={_DETERMINISTIC} before JAX is used"
        raise UsageError(f"deterministic = True: {there}, with other kernels: {way_out}")
    _keep_programs()


def _make_deterministic() -> bool:
    """Have XLA refuse kernels that reorder sums; return whether it still listens, or has before."""
    flags = os.environ.get("XLA_FLAGS", "")
    if not backends_are_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()
        _asked_for["deterministic"] = True
    return _asked_for["deterministic"] or _DETERMINISTIC in flags


def flags_problem() -> str | None:
    """Return what is wrong with XLA_FLAGS, tried in a process: XLA would end this one."""
    if not os.environ.get("XLA_FLAGS") or backends_are_initialized():
        return None
    command = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.CompileOptions()"]
    tried = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if tried.returncode == 0:
        return None
    reason = (tried.stderr.strip().splitlines() or ["it ends"])[-1].rpartition("] ")[2]
    return f"XLA refuses XLA_FLAGS ({reason}): unset it, or leave that flag out"


def problem() -> str | None:
    """Return why JAX finds no device; None where it does."""
    if wrong := flags_problem():
        return wrong
    try:
        jax.devices()
    except Exception as error:  # a silent AssertionError with JAX_PLATFORMS=cuda
        platforms = jax.config.values["jax_platforms"]
        reason = str(error).partition("\n")[0]
        return reason or f"JAX finds none with JAX_PLATFORMS = {platforms!r}"
    return None


def _keep_programs() -> None:
    """Keep them where JAX is configured to, or else in `cache`, if that can be written to."""
    configured = jax.config.values["jax_compilation_cache_dir"]
    if configured and "://" in configured:
        return
    try:
        # JAX would follow an environment that changes the directory.
        directory = absolute(configured) if configured else cache()
        directory.mkdir(parents=True, exist_ok=True, mode=0o777 if configured else 0o700)
        tempfile.TemporaryFile(dir=directory).close()
    except (OSError, RuntimeError):
        return keep_programs_in(None)  # which costs time, not the run
    keep_programs_in(str(directory))
    if not configured:  # small programs too: loading a model takes some sixty
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def keep_programs_in(directory: str | None) -> None:
    """Have JAX keep compiled programs in `directory`, or nowhere."""
    if directory != jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", directory)
        compilation_cache.reset_cache()  # JAX looks once whether there is one


def cores() -> int:
    """Return how many cores of the CPU this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def multiplies_bfloat16() -> bool | None:
    """Return whether the device has instructions for products in bfloat16; None if unknown."""
    device = jax.devices()[0]
    if device.platform == "gpu":  # NVIDIA's since Ampere
        capability = str(getattr(device, "compute_capability", ""))
        return float(capability) >= 8 if re.fullmatch(r"\d+\.\d+", capability) else None
    if device.platform != "cpu":
        return True
    with contextlib.suppress(OSError):
        words = set(_CPU.read_text(encoding="utf-8").split())
        return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})  # the last is Arm's
    return None


def _divide_cpu(num_devices: int) -> None:
    """Make each of so many cores a device, before JAX counts its devices, which it does once."""
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if num_devices == 1 and not forced:
        return
    # XLA has a thread for each core or, if they are more, each device. Where all are busy with a
    # device's program, parts that the programs hand on find none, and all wait for ever: ant on
    # two devices of two cores did. A program may have some such parts at once.
    os.environ.setdefault("NPROC", str(cores() + 4 * num_devices))
    if not forced and num_devices <= cores():
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", num_devices)


def cache() -> pathlib.Path:
    """Return where programs are kept, unless JAX says otherwise; RuntimeError without a home."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return absolute(home) / "mjx-sac" / "xla"
