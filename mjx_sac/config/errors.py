"""Errors that reach the user as one line."""

import difflib
import importlib.util
import traceback
from collections.abc import Iterable
from typing import Any


class UsageError(Exception):
    """Bad input: one line that names the field, the value and the way out. Exit code 2."""


class TrainingError(RuntimeError):
    """Training cannot continue; checkpoints saved before are intact. Exit code 3."""


class NonFiniteError(TrainingError):
    """A loss, a parameter or every environment became non-finite: a retry would fail too."""


def nearest(name: str, known: list[str]) -> str:
    """Return `; did you mean ant?` if a known name is close to `name`, else an empty string."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def with_line(error: BaseException, where: Any) -> str:
    """Return `error` in one line, with the last place in the user's file that it passed through.

    `where` is a function in that file, or the name that the traceback has for it.
    """
    file = getattr(getattr(where, "__code__", None), "co_filename", where)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines, error = [error.lineno], SyntaxError(error.msg)
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def require(modules: Iterable[str], extra: str, what: str) -> None:
    """Raise UsageError if one of the modules that come with an extra of this package is missing.

    `what` is the field and its value that need them, such as `out = 'ant.mp4'`.
    """
    # A directory of that name, such as W&B's, is a package without an origin.
    specs = {name: importlib.util.find_spec(name) for name in modules}
    missing = [name for name, spec in specs.items() if spec is None or spec.origin is None]
    if missing:
        way_out = f"`pip install -e '.[{extra}]'`, or `uv run --extra {extra} mjx-sac ...`"
        raise UsageError(f"{what}: needs {' and '.join(missing)}: install the extra: {way_out}")
