"""What `--env_option` says: arguments of an environment, or values of its configuration."""

import contextlib
import inspect
import re
from collections.abc import Generator, Mapping
from typing import Any

from mjx_sac.config import UsageError, nearest, with_line

_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments: what has dots in its name is in dictionaries.

    Raises:
      UsageError: a name is another's value and table at once.
    """
    found: dict[str, Any] = {}
    for key, value in options.items():
        *tables, last = key.split(".")
        at: Any = found
        for name in tables:
            at = at.setdefault(name, {}) if isinstance(at, dict) else None
        if not isinstance(at, dict) or last in at:
            raise UsageError(f"env_option = {key!r}: a part of it has a value too: leave one out")
        at[last] = value
    return found


def fit(env: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with the types of `known`, which has every name with its default.

    Raises:
      UsageError: `env` has no such option, or it is of another type.
    """
    for key in options:
        if key not in known:
            inside = [name for name in known if name.startswith(f"{key}.")]
            hint = f": give one of its values: {', '.join(inside)}" if inside else ""
            hint = hint or nearest(key, [*known]) or f": there are {', '.join(known)}"
            raise UsageError(f"env_option = {key!r}: {env} has no such option{hint}")
    return {key: _as(f"env_option = {key!r}", x, known[key]) for key, x in options.items()}


def _as(label: str, value: Any, default: Any) -> Any:
    """Return `value` as `default` is: a list of numbers of the same length, say."""
    kind = type(default)
    if isinstance(default, list | tuple):
        numbers = bool(default) and all(isinstance(x, int | float) for x in default)
        if not isinstance(value, list | tuple) or (numbers and len(value) != len(default)):
            raise UsageError(f"{label}: {value!r}: give a list like {[*default]}")
        # One that is not whole among them: all may be.
        like = next((x for x in default if isinstance(x, float)), default[0] if default else None)
        return kind(_as(label, x, like) for x in value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if kind in _KINDS and (not fits or (isinstance(value, bool) and kind is not bool)):
        raise UsageError(f"{label}: {value!r}: give {_KINDS[kind]}, such as {default!r}")
    return float(value) if kind is float else value


@contextlib.contextmanager
def taken(env: str, options: Mapping[str, Any]) -> Generator[None]:
    """Say in one line what fails where there are options."""
    try:
        yield
    except Exception as error:
        if not options or isinstance(error, UsageError):
            raise
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise UsageError(f"env_option: {env} with {given}: {with_line(error, None)}") from error


def arguments(function: Any) -> dict[str, Any]:
    """Return names and defaults of a function's arguments, a class's with those of its bases."""
    found: dict[str, Any] = {}
    is_class = isinstance(function, type)
    for each in reversed(function.__mro__) if is_class else [function]:
        made: Any = vars(each).get("__init__") if is_class else each
        try:
            parameters = [*inspect.signature(made).parameters.values()][is_class:]
        except (TypeError, ValueError):
            continue
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        found |= {p.name: p.default for p in named}
    return found


def unexpected(
    env: str, error: BaseException | None, options: Mapping[str, Any], function: Any
) -> UsageError | None:
    """Return what to say where `error` is that `function` takes no argument of such a name."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None or found[1] not in {key.partition(".")[0] for key in options}:
        return None
    names = [*arguments(function)]
    hint = nearest(found[1], names) or (f": it takes {', '.join(names)}" if names else "")
    return UsageError(f"env_option = {found[1]!r}: {env} takes no such argument{hint}")
