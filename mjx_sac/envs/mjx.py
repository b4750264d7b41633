"""MJX, imported without what a run makes no use of. Importing this module imports no JAX."""

import contextlib
import importlib
import io
import sys

from mjx_sac.config import UsageError, surroundings


def load(impl: str) -> None:
    """Import MJX for the implementation `impl`; what is imported already stays.

    Where NVIDIA Warp is installed MJX imports it, and all its kernels, whatever physics will run
    on: 3.1 of 3.8 seconds. In a process of the command, unless it is `impl`, MJX is made to find
    none; a program that calls us may want it later.

    Raises:
      UsageError: MJX has no Warp, for this process has imported it without or Warp does not work.
    """
    printed = io.StringIO()
    if "mujoco.mjx" not in sys.modules:
        hidden = surroundings.own() and impl != "warp" and "warp" not in sys.modules
        if hidden:
            sys.modules["warp"] = None  # pyright: ignore[reportArgumentType]
        try:
            with contextlib.redirect_stdout(printed):  # there it says why it has none
                importlib.import_module("mujoco.mjx")
        finally:
            if hidden:
                del sys.modules["warp"]
    if impl == "warp" and not sys.modules["mujoco.mjx.warp"].WARP_INSTALLED:
        before = "this process has imported MJX without Warp: begin it with `import mujoco.mjx`"
        raise UsageError(f"impl = 'warp': {printed.getvalue().partition(chr(10))[0] or before}")
