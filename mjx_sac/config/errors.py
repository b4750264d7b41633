"""Errors that reach the user as one line."""

import difflib


class UsageError(Exception):
    """Bad input: one line that names the field, the value and the way out. Exit code 2."""


class TrainingError(RuntimeError):
    """Training cannot continue; checkpoints saved before are intact. Exit code 3."""


class NonFiniteError(TrainingError):
    """A loss, a parameter or every environment became non-finite; a retry would fail the same way."""


def nearest(name: str, known: list[str]) -> str:
    """Return `; did you mean ant?` if a known name is close to `name`, else an empty string."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""
