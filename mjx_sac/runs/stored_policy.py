"""A run's checkpoint as those see it who use its policy. Nothing here needs JAX, so bad input is refused at once."""

import contextlib
import math
import pathlib
from typing import Any, NamedTuple

from mjx_sac import algorithm, rundir, snapshot
from mjx_sac.config import Config, UsageError, build


class Stored(NamedTuple):
    """A checkpoint on disk, seen from those who want to use its policy.

    Attributes:
      config: what the run is trained with.
      directory: the run's.
      iterations: of the checkpoint.
      manifest: the policy's, unverified files beside it.
    """

    config: Config
    directory: pathlib.Path
    iterations: int
    manifest: dict[str, Any]

    @property
    def policy(self) -> pathlib.Path:
        """The snapshot that holds what acting needs."""
        return self.directory / "checkpoints" / str(self.iterations) / "policy"


def checkpoint(run: str | pathlib.Path, step: int | None = None, config_class: type[Config] = Config) -> Stored:
    """The newest checkpoint of a run, or the one at `step` iterations.

    Raises:
      UsageError: `run` is no run's directory, has no (such) checkpoint, or it is damaged or from a newer version.
    """
    directory = pathlib.Path(run)
    if not directory.is_dir():
        raise UsageError(f"run = {str(run)!r}: no such directory; `mjx-sac train` makes one, runs/<env> unless told otherwise")
    found = rundir.steps(directory)
    if not found:
        raise UsageError(f"run = {str(run)!r}: no checkpoint there: name a directory that `mjx-sac train` has saved one in")
    iterations = found[-1] if step is None else step
    if iterations not in found:
        raise UsageError(f"step = {step}: no such checkpoint in {run}; there are {', '.join(map(str, found))}")
    try:
        manifest = snapshot.manifest(directory / "checkpoints" / str(iterations) / "policy")
    except snapshot.DamagedError as error:
        raise unusable(error, directory, iterations) from None
    with contextlib.suppress(UsageError):  # `algorithm.load` will say what is wrong to those who need the losses file
        config_class = algorithm.config_class(manifest["config"].get("losses"), config_class)
    return Stored(build(config_class, rundir.known(manifest, config_class)), directory, iterations, manifest)


def choose(stored: Stored, seed_index: int | None = None) -> tuple[Config, int | None]:
    """One agent of a population: the `seed_index`th, or the one whose return was highest when the checkpoint was saved.

    Returns:
      Its own configuration and its place on the axis of agents; None for an agent alone.

    Raises:
      UsageError: there is no such agent.
    """
    agents = stored.config.population()
    if seed_index is not None and not 0 <= seed_index < len(agents):
        there = f"{len(agents)} agents, 0 to {len(agents) - 1}" if len(agents) > 1 else "one agent"
        raise UsageError(f"seed_index = {seed_index}: {stored.directory} holds {there}")
    if not stored.config.is_population:
        return stored.config, None
    returns = [-math.inf if score is None else score for score in stored.manifest.get("returns") or [None] * len(agents)]
    index = returns.index(max(returns)) if seed_index is None else seed_index
    return agents[index], index


def unusable(error: snapshot.DamagedError, directory: pathlib.Path, iterations: int) -> UsageError:
    """What those who want to use the policy of that checkpoint can do about it."""
    others = ", ".join(str(step) for step in rundir.steps(directory) if step != iterations)
    return UsageError(f"{error}: {f'choose another --step ({others})' if others else 'there is no other checkpoint'}")
