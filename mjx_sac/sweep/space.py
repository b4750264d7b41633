"""What a sweep varies: hyperparameters and the values they can take, as typed after `--param`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mjx_sac.config import Config, UsageError, build, mark, nearest

Settings = dict[str, Any]  # values of the hyperparameters that vary


class Choice(NamedTuple):
    """A hyperparameter with a list of values."""

    name: str
    values: tuple[Any, ...]

    @property
    def stored(self) -> list[Any]:
        """The values as Optuna keeps them, which knows no tuples and dictionaries."""
        return [show(x) if isinstance(x, tuple | dict) else x for x in self.values]

    def value(self, stored: Any) -> Any:
        """Return the value that Optuna keeps as `stored`."""
        return self.values[self.stored.index(stored)]


class Range(NamedTuple):
    """A hyperparameter that is a number, or integer, in a range; with `log` its log is uniform."""

    name: str
    low: float
    high: float
    log: bool
    integer: bool

    def value(self, stored: float) -> float:
        """Return `stored` with no more digits than a person would type."""
        if self.integer:
            return int(stored)
        return min(max(float(f"{stored:.4g}"), self.low), self.high)


Parameter = Choice | Range


def parse(texts: Sequence[str], base: Config, given: Iterable[str]) -> list[Parameter]:
    """Return the space that `texts` such as `name=1e-4,1e-3` or `name=1e-4..1e-2` describe.

    `base` has the values of all others, of which those that are `given` cannot vary. UsageError
    names the first that is unknown, given twice, empty or out of bounds.
    """
    space: dict[str, Parameter] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"param = {text!r}: write name=value,value,... or name=low..high")
        _check_name(name, type(base), {*given}, {*space})
        space[name] = _parameter(name, values, base)
    if not space:
        way_out = "say --param name=value,value,... or name=low..high, once for each"
        raise UsageError(f"param: nothing varies: {way_out}")
    return [*space.values()]


def _check_name(name: str, config_class: type[Config], given: set[str], known: set[str]) -> None:
    problem = None
    if name not in config_class.model_fields:
        problem = f"no such hyperparameter{nearest(name, list(config_class.model_fields))}"
    elif name == "seed":
        problem = "every setting is trained with the same seeds: --num_seeds says how many"
    elif name == "algorithm" or mark(config_class, name, "group") in ("Run", "Output"):
        problem = f"the same for the whole sweep: give it as --{name}"
    elif name in known:
        problem = "given twice: put all its values into one --param"
    elif name in given:
        problem = f"has a fixed value too, as --{name} or in --config: leave one of them out"
    if problem:
        raise UsageError(f"param {name}: {problem}")


def _parameter(name: str, text: str, base: Config) -> Parameter:
    if found := re.fullmatch(r"\s*(?:(log|lin):)?(.+?)\.\.(.+)", text):
        low, high = (_value(name, end, base) for end in found.groups()[1:])
        return _range(name, found[1], low, high, text)
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        problem = "an empty value" if any(parts) else "no value"
        raise UsageError(f"param {name} = {text!r}: {problem}: write {name}=value,value")
    values = tuple(_value(name, part, base) for part in parts)
    shown = [show(value) for value in values]
    if twice := next((one for one in shown if shown.count(one) > 1), None):
        raise UsageError(f"param {name} = {text!r}: {twice} is given twice: leave one out")
    return Choice(name, values)


def _range(name: str, scale: str | None, low: Any, high: Any, text: str) -> Range:
    problem = None
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        problem = f"not a number, so it has no range: write {name}=value,value,..."
    elif low >= high:
        problem = f"{low} is not below {high}: swap them"
    elif scale == "log" and low <= 0:
        problem = f"no logarithm of {low}: raise it, or write lin:"
    if problem:
        raise UsageError(f"param {name} = {text!r}: {problem}")
    log = scale == "log" or (scale is None and low > 0 and high >= 10 * low)
    return Range(name, low, high, log, isinstance(low, int) and isinstance(high, int))


def _value(name: str, text: str, base: Config) -> Any:
    """Return what `Config` reads, which knows types and bounds."""
    try:
        return getattr(apply(base, {name: text.strip()}), name)
    except UsageError as error:
        raise UsageError(f"param {error}") from None


def apply(base: Config, settings: Mapping[str, Any]) -> Config:
    """Return `base` with other values, or raise UsageError where they do not fit each other."""
    return build(type(base), {**dict(base), **settings})


def show(value: Any) -> str:
    """Return a value as it is typed after `--param name=`."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={x}" for key, x in value.items())
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def label(settings: Settings) -> str:
    """Return a name such as `tau=0.01,hidden_sizes=64x64`."""
    return ",".join(f"{name}={show(value)}" for name, value in settings.items())
