"""Which device XLA compiles for, and where it keeps compiled programs."""

import importlib.util
import os
import pathlib

import jax

from mjx_sac.config import UsageError


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
