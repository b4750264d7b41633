"""Errors that reach the user as one line."""

import difflib
import importlib.util
from collections.abc import Iterable


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


def require(modules: Iterable[str], extra: str, what: str) -> None:
    """Raise UsageError if one of the modules that come with an extra of this package is missing.

    `what` is the field and its value that need them, such as `out = 'ant.mp4'`.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what}: needs {' and '.join(missing)}: install the extra: "
            f"`pip install -e '.[{extra}]'`, or `uv run --extra {extra} mjx-sac ...`"
        )
