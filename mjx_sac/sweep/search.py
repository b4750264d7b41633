"""How a sweep searches: Optuna's study on disk, its samplers, and the pruners."""

# pyright: basic
import copy
import itertools
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from mjx_sac.config import Config, UsageError
from mjx_sac.runs.directory import OTHERWISE
from mjx_sac.sweep.space import Choice, Parameter, Range, Settings, label

FILE = "study.journal"
_MISSES = 100  # proposals in a row that were there before: the space counts as exhausted

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(directory: pathlib.Path) -> optuna.Study:
    """Return the study in `directory`, whose lock is held, or a new one; UsageError if damaged."""
    path = directory / FILE
    if path.is_file():  # a killed process may leave half a line, and Optuna's own lock
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        (directory / f"{FILE}.lock").unlink(missing_ok=True)
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        return optuna.create_study(
            study_name="sweep", storage=storage, direction="maximize", load_if_exists=True
        )
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged: {OTHERWISE}") from None


def settings(space: Sequence[Parameter], trial: FrozenTrial) -> Settings:
    """Return the hyperparameters of a trial."""
    return {p.name: p.value(trial.params[p.name]) for p in space}


def propose(
    search: str, space: Sequence[Parameter], seed: int, past: Sequence[FrozenTrial], count: int
) -> list[FrozenTrial]:
    """Return the next `count` trials, fewer where the space has no more; none is in `past`.

    The same past gives the same trials, also after a kill halfway through a wave.
    """
    distributions = {p.name: _distribution(p) for p in space}
    seen, misses = {label(settings(space, trial)) for trial in past}, 0
    found: list[FrozenTrial] = []
    for params in _grid(space) if search == "grid" else _ask(search, distributions, seed, past):
        if len(found) >= count or misses >= _MISSES:
            break
        params |= {p.name: p.value(params[p.name]) for p in space if isinstance(p, Range)}
        trial = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
        name = label(settings(space, trial))
        misses = misses + 1 if name in seen else 0
        if not misses:
            seen.add(name)
            found.append(trial)
    return found


def _grid(space: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*(p.stored for p in space)):
        yield {p.name: value for p, value in zip(space, values, strict=True)}


def _ask(
    how: str, distributions: dict[str, Any], seed: int, past: Sequence[FrozenTrial]
) -> Iterator[dict[str, Any]]:
    """Ask a copy of the study, seeded by `seed` and the number of trials before."""
    seed = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    sampler = RandomSampler(seed) if how == "random" else TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in map(copy.copy, past):
        if trial.state == TrialState.FAIL:  # Optuna would ignore it, and propose its like again
            trial.state, trial.intermediate_values = TrialState.PRUNED, {}
        study.add_trial(trial)
    while True:
        yield study.ask(distributions).params


def _distribution(parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.stored)
    kind: Any = IntDistribution if parameter.integer else FloatDistribution
    return kind(parameter.low, parameter.high, log=parameter.log)


def grid_size(space: Sequence[Parameter]) -> int:
    """Return the number of combinations, or raise UsageError: a range has no grid."""
    for p in space:
        if isinstance(p, Range):
            way_out = "list values, or say --search random or optuna"
            raise UsageError(f"param {p.name}: a range has no grid: {way_out}")
    return math.prod(len(p.values) for p in space if isinstance(p, Choice))


def rungs(config: Config, pruner: str) -> list[int]:
    """Return the iterations after which a wave is judged, the last of which are all of them.

    With a pruner these are a quarter and a half too, in whole epochs: UsageError where nothing has
    been evaluated by then.
    """
    if pruner == "none":
        return [config.iterations]
    epochs = -(-config.iterations // config.epoch_iterations)
    # Epochs that learn nothing, or not all along.
    warm_up = config.warm_up_vector_steps // config.epoch_vector_steps
    early = [e for e in sorted({-(-epochs // 4), -(-epochs // 2)}) if warm_up < e < epochs]
    if not early:
        raise UsageError(
            f"pruner = {pruner!r}: of {epochs} epochs none in the first half is evaluated: raise "
            f"iterations, or lower log_interval ({config.epoch_iterations}) or warm_up_steps "
            f"({config.warm_up_steps})"
        )
    return [*(epoch * config.epoch_iterations for epoch in early), config.iterations]


def survivors(pruner: str, running: Sequence[int], scores: Mapping[int, float]) -> set[int]:
    """Return which of a wave's `running` trials continue after a rung, by number.

    "halving" keeps the better half, rounded up, "median" those not below the median of all that
    reached the rung, in this wave or before. `scores` has none of those that failed.
    """
    best = sorted((n for n in running if n in scores), key=lambda n: -scores[n])
    if pruner == "halving":
        return {*best[: -(-len(running) // 2)]}
    # Optuna's pruner compares with completed trials only, of which the first wave has none.
    return {n for n in best if scores[n] >= np.median([*scores.values()])}
