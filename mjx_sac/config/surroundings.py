"""What a shell, or a program that calls us, has set around us, and what of it reaches a run."""

import contextlib
import functools
import os
import random
import sys
import warnings
from collections.abc import Generator
from typing import Any, TextIO

_AIDS = ("disable_jit", "debug_nans", "debug_infs", "debug_key_reuse", "check_tracer_leaks")
_PATHS = ("host_to_device", "device_to_host", "device_to_device")

ORDINARY: dict[str, Any] = {
    # Other arrays and keys than programs and checkpoints have; other random numbers.
    **{"enable_x64": False, "enable_custom_prng": False, "default_prng_impl": "threefry2x32"},
    **{"threefry_partitionable": True, "random_seed_offset": 0},
    # We and libraries rely on what these refuse.
    **{"numpy_dtype_promotion": "standard", "numpy_rank_promotion": "allow"},
    **{"legacy_prng_key": "allow", "array_garbage_collection_guard": "allow"},
    **{f"transfer_guard_{path}": "allow" for path in _PATHS},
    # An epoch is compiled ahead of time, and NaN in it may mean that nothing was measured.
    **dict.fromkeys((*_AIDS, "no_tracing", "no_execution", "raise_persistent_cache_errors"), False),
    **{f"error_checking_behavior_{kind}": "ignore" for kind in ("nan", "divide", "oob")},
}
"""JAX's settings that a run never sees changed, by their names without `jax_`."""

not_used: list[str] = []
"""Which of them somebody has changed, as it was written: `JAX_ENABLE_X64=1`."""

_own = False


def own() -> bool:
    """Return whether this process is the command's: a program that calls us finds it as it was."""
    return _own


@contextlib.contextmanager
def own_process() -> Generator[None]:
    """Make this process the command's: nothing that a shell has set keeps it from working."""
    global _own
    before, _own = _own, True
    open_streams()
    for name in (*ORDINARY, "transfer_guard"):
        variable = f"JAX_{name.upper()}"
        text = os.environ.pop(variable, "")  # before JAX reads it, and for workers too
        if text and not _same(text, ORDINARY.get(name, "allow")):
            not_used.append(f"{variable}={text}")
    with warnings.catch_warnings():
        if any(option.startswith("error") for option in sys.warnoptions):
            os.environ.pop("PYTHONWARNINGS", None)
            sys.warnoptions.clear()
            warnings.simplefilter("default")
        try:
            yield
        finally:
            _own = before


def _same(text: str, value: Any) -> bool:
    words = {False: ("0", "false", "f", "no", "n", "off"), True: ("1", "true", "t", "yes", "on")}
    return text.lower() in (words[value] if isinstance(value, bool) else (str(value),))


def open_streams() -> None:
    """Make standard input, output and error usable whatever they are.

    A file that is opened later would get the number of one that is closed, and what libraries
    print. A character that a stream cannot show becomes a question mark.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            mode = "w" if number else "r"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def _states() -> list[tuple[str, Any, Any]]:
    """Return for each of `ORDINARY` its name, JAX's setting (a context manager), and the value."""
    from jax._src import config  # not all of them have a public name

    return [(name, getattr(config, name), value) for name, value in ORDINARY.items()]


@contextlib.contextmanager
def ordinary_jax() -> Generator[None]:
    """Compute, in this thread, as if nobody had changed JAX's settings."""
    changed = [one for one in _states() if one[1].value not in (one[2], None)]
    if not changed:
        yield
        return
    with contextlib.ExitStack() as stack:  # contexts, not updates: other threads are the host's
        for name, state, value in changed:
            text = f"jax_{name}={state.value}"
            if text not in not_used:
                not_used.append(text)
                stack.callback(not_used.remove, text)
            stack.enter_context(state(value))
        yield


def seed_generators(*numbers: int) -> None:
    """Seed `random` and NumPy's global generator in the command's own process."""
    if _own:
        import numpy as np

        random.seed(repr(numbers))
        np.random.seed([number % 2**32 for number in numbers])  # noqa: NPY002
