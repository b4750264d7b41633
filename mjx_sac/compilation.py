"""How XLA compiles for us: on which device, with which options, and where compiled programs are kept."""

import importlib.util
import os
import pathlib

import jax
from jax.stages import Compiled, Lowered

from mjx_sac.config import UsageError

_OPTIONS: dict[str, dict[str, str | bool]] = {
    # XNNPACK multiplies the small matrices of a 256x256 network faster than XLA's default on a CPU: 222 against 200 updates/s,
    # medians of four and six runs of a bare scan of updates, taking turns on two cores.
    "cpu": {"xla_cpu_use_xnnpack": True},
}


def set_up(device: str) -> None:
    """Chooses the device, and keeps compiled programs in a private directory of the user's, which makes later starts fast.

    Raises:
      UsageError: JAX finds no such device.
    """
    if device != "auto":
        gpu = "rocm" if importlib.util.find_spec("jax_rocm7_plugin") else "cuda"
        jax.config.update("jax_platforms", gpu if device == "gpu" else device)
    try:
        jax.devices()
    except RuntimeError as error:
        raise UsageError(f"device = {device!r}: {str(error).splitlines()[0]}") from None
    if device != "auto" and jax.default_backend() != device:
        raise UsageError(f"device = {device!r}: JAX already runs on {jax.default_backend()} in this process: start a new one")
    if jax.config.values["jax_compilation_cache_dir"] is None:
        try:
            base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
            directory = pathlib.Path(base) / "mjx-sac" / "xla"
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (OSError, RuntimeError):
            return  # a home that cannot be written to costs time, not the run
        jax.config.update("jax_compilation_cache_dir", str(directory))


def compile_lowered(lowered: Lowered) -> Compiled:
    """`lowered.compile()` with the options found to be faster here, where this version of XLA knows them."""
    options = _OPTIONS.get(jax.default_backend(), {})
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()
