"""The current directory, which an environment may change: every path is made absolute before."""

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

from mjx_sac.config.errors import UsageError


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return `path` from the root, with `~` expanded."""
    try:
        return Path(os.path.expanduser(path)).absolute()
    except FileNotFoundError:
        problem = "the current directory has been deleted: change to another"
        raise UsageError(f"{str(path)!r}: {problem}") from None


@contextlib.contextmanager
def staying() -> Generator[None]:
    """Return to the current directory at the end, even if its name has changed."""
    here = os.open(os.curdir, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def import_from_here() -> None:
    """Let the user's modules lie in the current directory, also when it is another one later."""
    with contextlib.suppress(FileNotFoundError):  # it has been deleted
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)
