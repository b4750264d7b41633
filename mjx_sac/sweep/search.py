"""What a sweep tries: its space, and the searches through it. Pure functions; NumPy alone, and Optuna where that is asked for."""

import importlib.util
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import Config, UsageError, build, mark, nearest

Settings = dict[str, Any]
"""Values of the hyperparameters that vary."""

_TRIES = 100
"""So often a setting is drawn that was there before, until a space counts as exhausted."""


class Choice(NamedTuple):
    """A hyperparameter with the values it can have."""

    name: str
    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value that a number in [0, 1) stands for."""
        return self.values[int(share * len(self.values))]


class Range(NamedTuple):
    """A hyperparameter that can be anything from `low` to `high`, both included.

    Attributes:
      log: its logarithm is what is uniform.
      whole: whole numbers only.
    """

    name: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> Any:
        """The value that a number in [0, 1) stands for, with no more digits than a person would type."""
        if self.whole:
            low, high = self.low - 0.5, self.high + 0.5
            value = (
                math.exp(math.log(low) + share * math.log(high / low))
                if self.log
                else low + share * (high - low)
            )
            return int(min(max(round(value), self.low), self.high))
        value = (
            self.low * (self.high / self.low) ** share
            if self.log
            else self.low + share * (self.high - self.low)
        )
        return self.near(value)

    def near(self, value: float) -> Any:
        """`value` rounded to four digits, and inside."""
        return int(value) if self.whole else min(max(float(f"{value:.4g}"), self.low), self.high)


Parameter = Choice | Range


class Told(NamedTuple):
    """What came of a setting.

    Attributes:
      settings: what was tried.
      score: the higher the better; NaN where training failed.
      iterations: after which the score was taken.
      whole: not stopped before its end.
    """

    settings: Settings
    score: float
    iterations: int
    whole: bool


def parse(texts: Sequence[str], base: Config, given: Iterable[str]) -> list[Parameter]:
    """The space that `name=1e-4,1e-3` or `name=1e-4..1e-2` describe.

    Args:
      texts: one for each hyperparameter.
      base: values of all others.
      given: hyperparameters that have a value of their own already.

    Raises:
      UsageError: one line for the first that is unknown, there twice, empty or out of bounds.
    """
    space: list[Parameter] = []
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"param = {text!r}: write name=value,value,... or name=low..high")
        _check_name(name, type(base), {*given}, {parameter.name for parameter in space})
        space.append(_parameter(name, values, base))
    if not space:
        raise UsageError(
            "param: nothing varies: say --param name=value,value,... or name=low..high, once for each hyperparameter"
        )
    return space


def _check_name(name: str, config_class: type[Config], given: set[str], known: set[str]) -> None:
    fields = config_class.model_fields
    if name not in fields:
        raise UsageError(f"param {name}: no such hyperparameter{nearest(name, list(fields))}")
    if name == "seed":
        raise UsageError(
            "param seed: every setting is trained with the same seeds: --num_seeds says how many"
        )
    if name == "losses" or mark(config_class, name, "group") in ("Run", "Output"):
        raise UsageError(f"param {name}: the same for the whole sweep: give it as --{name}")
    if name in known:
        raise UsageError(f"param {name}: there twice: put all its values into one --param")
    if name in given:
        raise UsageError(
            f"param {name}: has a fixed value too, as --{name} or in the configuration file: leave one of them out"
        )


def _parameter(name: str, text: str, base: Config) -> Parameter:
    if found := re.fullmatch(r"\s*(?:(log|lin):)?(.+?)\.\.(.+)", text):
        return _range(
            name, found[1], _value(name, found[2], base), _value(name, found[3], base), text
        )
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(
            f"param {name} = {text!r}: {'no value' if not any(parts) else 'an empty value'}: write {name}=value,value"
        )
    values = tuple(_value(name, part, base) for part in parts)
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise UsageError(f"param {name} = {text!r}: {show(twice)} is there twice")
    return Choice(name, values)


def _range(name: str, scale: str | None, low: Any, high: Any, text: str) -> Range:
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        raise UsageError(
            f"param {name} = {text!r}: not a number, so it has no range: write {name}=value,value,..."
        )
    if low >= high:
        raise UsageError(f"param {name} = {text!r}: {low} is not below {high}")
    if scale == "log" and low <= 0:
        raise UsageError(f"param {name} = {text!r}: no logarithm of {low}: raise it, or write lin:")
    log = scale == "log" or (scale is None and low > 0 and high >= 10 * low)
    return Range(name, low, high, log, isinstance(low, int) and isinstance(high, int))


def _value(name: str, text: str, base: Config) -> Any:
    """As `Config` understands it, which knows bounds."""
    try:
        return getattr(apply(base, {name: text.strip()}), name)
    except UsageError as error:
        raise UsageError(f"param {error}") from None


def apply(base: Config, settings: Mapping[str, Any]) -> Config:
    """`base` with other values.

    Raises:
      UsageError: they do not go together.
    """
    return build(
        type(base), {**{name: getattr(base, name) for name in type(base).model_fields}, **settings}
    )


def show(value: Any) -> str:
    """A value as it is typed after `--param name=`."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def label(settings: Settings) -> str:
    """Such as `tau=0.01,hidden_sizes=64x64`."""
    return ",".join(f"{name}={show(value)}" for name, value in settings.items())


def grid(space: Sequence[Parameter]) -> list[Settings]:
    """Every combination, the last parameter changing fastest.

    Raises:
      UsageError: a range has no grid.
    """
    for parameter in space:
        if isinstance(parameter, Range):
            raise UsageError(
                f"param {parameter.name}: a range has no grid: list values, or say --search random or optuna"
            )
    values = (parameter.values for parameter in space if isinstance(parameter, Choice))
    return [
        dict(zip((p.name for p in space), combination, strict=True))
        for combination in itertools.product(*values)
    ]


def propose(
    search: str, space: Sequence[Parameter], seed: int, told: Sequence[Told], count: int
) -> list[Settings]:
    """The next `count` settings to try, fewer where the space has no more; the same for the same past, so only that is kept.

    Args:
      search: "random" or "optuna".
      space: where to look.
      seed: of what is random.
      told: what came of all settings proposed before, in order.
      count: how many.
    """
    generator = np.random.default_rng([seed, len(told)])
    suggested = _ask_optuna(space, generator, told, count) if search == "optuna" else []
    seen = {label(one.settings) for one in told}
    proposed: list[Settings] = []
    for i in range(count):
        drawn = (
            {p.name: p.at(share) for p, share in zip(space, row, strict=True)}
            for row in generator.random((_TRIES, len(space)))
        )
        fresh = (one for one in [*suggested[i : i + 1], *drawn] if label(one) not in seen)
        if (one := next(fresh, None)) is None:
            break
        seen.add(label(one))
        proposed.append(one)
    return proposed


def check_optuna() -> None:
    """Refuses a search by Optuna where it is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "search = 'optuna': needs Optuna: install the extra, as in `uv run --extra tune mjx-sac ...`"
        )


def _ask_optuna(
    space: Sequence[Parameter], generator: np.random.Generator, told: Sequence[Told], count: int
) -> list[Settings]:
    """A study that lives as long as this call: `told` is all it needs to know, and is in the sweep's own file."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=int(generator.integers(2**31)), constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions: Any = {p.name: _distribution(p) for p in space}
    for one in told:
        params = {
            p.name: p.values.index(one.settings[p.name])
            if isinstance(p, Choice)
            else one.settings[p.name]
            for p in space
        }
        whole = one.whole and math.isfinite(one.score)
        state = optuna.trial.TrialState.COMPLETE if whole else optuna.trial.TrialState.PRUNED
        # Optuna puts those that were stopped below the others, in order of how far they came; one that failed, last of all.
        values = {one.iterations: one.score} if math.isfinite(one.score) else {}
        value = one.score if whole else None
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params=params,
                distributions=distributions,
                intermediate_values=values,
            )
        )
    asked = [study.ask(distributions).params for _ in range(count)]
    return [
        {
            p.name: p.values[params[p.name]] if isinstance(p, Choice) else p.near(params[p.name])
            for p in space
        }
        for params in asked
    ]


def _distribution(parameter: Parameter) -> Any:
    from optuna import distributions

    if isinstance(parameter, Choice):  # by index: Optuna keeps no tuples
        return distributions.CategoricalDistribution([*range(len(parameter.values))])
    if parameter.whole:
        return distributions.IntDistribution(
            int(parameter.low), int(parameter.high), log=parameter.log
        )
    return distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def rungs(config: Config, pruner: str) -> list[int]:
    """Iterations after which a wave is judged, the last of which are all of them: a quarter and a half, in whole epochs.

    Raises:
      UsageError: nothing has been evaluated by then.
    """
    epochs = -(-config.iterations // config.epoch_iterations)
    if pruner == "none":
        return [config.iterations]
    warm_up = (
        config.warm_up_vector_steps // config.epoch_vector_steps
    )  # epochs that learn nothing, or not all along
    early = sorted({-(-epochs // share) for share in (4, 2)})
    early = [epoch for epoch in early if warm_up < epoch < epochs]
    if not early:
        raise UsageError(
            f"pruner = {pruner!r}: of {epochs} epochs none in the first half is evaluated: raise iterations, or lower log_interval "
            f"({config.log_interval}) or warm_up_steps ({config.warm_up_steps})"
        )
    return [*(epoch * config.epoch_iterations for epoch in early), config.iterations]


def survivors(pruner: str, scores: Sequence[float], earlier: Sequence[float]) -> list[int]:
    """Who of a wave goes on; whoever failed does not.

    Args:
      pruner: "halving": the better half, rounded up. "median": whoever is not below the median of all judged so far.
      scores: of the wave.
      earlier: of the waves before, after as many iterations.
    """
    finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
    if pruner == "halving":
        best = sorted(finite, key=lambda i: -scores[i])[: -(-len(scores) // 2)]
        return sorted(best)
    known = [score for score in (*scores, *earlier) if math.isfinite(score)]
    return [i for i in finite if scores[i] >= float(np.median(known))]
