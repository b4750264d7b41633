"""Field types of `Config`: what a flag or a TOML file may say, and what a field means for a run."""

import ast
import contextlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, Field

from mjx_sac.config.errors import UsageError


def _whole_number(value: Any) -> Any:
    """Read `1e6`, `1_000_000` and `1000000.0` as the integer they mean."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[\d_]+(\.\d*)?([eE]\+?\d+)?", value.strip()):
        text = value.strip().replace("_", "")
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _ratio(value: Any) -> Any:
    """Read `2/1024` as the number that it means."""
    if not (isinstance(value, str) and "/" in value):
        return value
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below)
    except (ValueError, ZeroDivisionError):
        raise ValueError("write a number, or a fraction such as 2/1024") from None


def _widths(value: Any) -> Any:
    """Split `256,256`; take a single number as a list of one."""
    if isinstance(value, str):
        return re.findall(r"[^,\sx()\[\]]+", value)
    return [value] if isinstance(value, int) else value


def _auto(value: Any) -> Any:
    """Read `auto` and `none` as None."""
    return None if isinstance(value, str) and value.lower() in ("none", "auto") else value


def _members(value: Any) -> Any:
    """Read JSON, as a flag gives it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        example = '\'[{"tau": 0.01}, {"tau": 0.02}]\''
        raise ValueError(f"not JSON ({error}): such as {example}") from None


def _options(value: Any) -> dict[str, Any]:
    """Read a table, in which tables are dots in keys, `key=value`, or several, of which later win.

    A value is a number, a text, true, false, null or a list of these.
    """
    if isinstance(value, str):
        key, equals, text = value.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"env_option = {value!r}: write key=value, such as dt=0.01")
        value = {key.strip(): _read(text.strip())}
    if isinstance(value, list | tuple):
        return {key: x for part in value for key, x in _options(part).items()}
    if not isinstance(value, Mapping):
        raise ValueError("write a table, or key=value")
    found: dict[str, Any] = {}
    for key, x in value.items():
        table = isinstance(x, Mapping)
        found |= (
            {f"{key}.{k}": y for k, y in _options(x).items()} if table else {key: _plain(key, x)}
        )
    return found


def _read(text: str) -> Any:
    """Return what JSON or Python reads in `text`, or the text where neither does."""
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return read(text)
    return text


def _plain(key: str, value: Any) -> Any:
    """Return an option's value as JSON keeps it."""
    if isinstance(value, list | tuple):
        return [_plain(key, x) for x in value]
    if not isinstance(value, str | int | float | None) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        kinds = "a finite number, a text, true, false or a list of these"
        raise UsageError(f"env_option = {key!r}: {value!r}: make it {kinds}")
    return value


Int = Annotated[int, BeforeValidator(_whole_number)]
Ratio = Annotated[float, BeforeValidator(_ratio)]
_Width = Annotated[Int, Field(gt=0)]
Widths = Annotated[tuple[_Width, ...], BeforeValidator(_widths), Field(min_length=1)]
Members = Annotated[tuple[dict[str, float], ...], BeforeValidator(_members)]
Options = Annotated[dict[str, Any], BeforeValidator(_options)]
AutoInt = Annotated[Int | None, BeforeValidator(_auto)]
AutoFloat = Annotated[float | None, BeforeValidator(_auto)]
AutoStr = Annotated[str | None, BeforeValidator(_auto)]


def field(
    default: Any,
    description: str,
    *,
    group: str,
    fixed: bool = False,
    traced: bool = False,
    how: bool = False,
    **bounds: Any,
) -> Any:
    """Declare a hyperparameter, with pydantic's `bounds`, such as `gt=0`.

    `group` is its heading in `--help`. A `fixed` one shapes the saved state, so a resumed run must
    keep it. A `traced` one decides no shape and no branch, so agents of one compiled program may
    differ in it. `how` says that it decides how a run is carried out or watched, not what it
    learns.
    """
    marks: Any = {"group": group, "fixed": fixed, "traced": traced, "how": how}
    return Field(default, description=description, json_schema_extra=marks, **bounds)


def flag(name: str) -> str:
    """Return the flag of a field: that of a table of options is given once for each key."""
    if name == "from_run":  # Python has `from` for itself
        return "--from"
    return f"--{name.removesuffix('s') if name.endswith('_options') else name}"


def typed(name: str, value: Any) -> str:
    """Return a field and its value as a command line has them."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no_{name}"
    texts = [json.dumps(value)] if name == "members" else [show(value)]
    if name.endswith("_options"):
        texts = [f"{key}={json.dumps(x)}" for key, x in value.items()]
    return " ".join(f"{flag(name)} {shlex.quote(text)}" for text in texts)


def show(value: Any) -> str:
    """Return a hyperparameter's value as it is typed."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={show(x)}" for name, x in value.items()) or "none"
    return "auto" if value is None else str(value)


def mark(config_class: type[pydantic.BaseModel], name: str, key: str) -> Any:
    """Return the `group`, `fixed`, `traced` or `how` mark of a field.

    A subclass's plain `Field` counts as an algorithm's, without marks, unless
    `json_schema_extra={"traced": True}` says so.
    """
    marks = {"group": "Algorithm", "fixed": False, "traced": False, "how": False}
    extra = config_class.model_fields[name].json_schema_extra
    return {**marks, **(extra if isinstance(extra, Mapping) else {})}[key]


def marked(config_class: type[pydantic.BaseModel], key: str, value: Any = True) -> tuple[str, ...]:
    """Return the fields whose mark `key` is `value`."""
    return tuple(k for k in config_class.model_fields if mark(config_class, k, key) == value)


def agent_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the agents' directories, such as `seed_3` or `tau=0.01`; none for a single agent."""
    members, num_seeds = config.get("members", ()), config.get("num_seeds", 1)
    if not members and num_seeds == 1:
        return ()
    names: list[str] = []
    for member, i in itertools.product(members or ({},), range(num_seeds)):
        settings = [f"{name}={value:g}" for name, value in sorted(member.items())]
        seed = [f"seed_{config.get('seed', 0) + i}"] if num_seeds > 1 else []
        names.append(",".join(settings + seed) or "defaults")
    return tuple(names)
