"""Read-only view of a checkpoint, for eval, record and export. Imports no JAX."""

import contextlib
import math
from pathlib import Path
from typing import Any, NamedTuple

from mjx_sac.algorithms import loader
from mjx_sac.config import Config, UsageError, build
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.resolve import known


class StoredPolicy(NamedTuple):
    """The policy part of a checkpoint.

    Attributes:
      directory: the run's.
      iterations: of the checkpoint.
      manifest: of the policy's arrays, which are not verified yet.
    """

    config: Config
    directory: Path
    iterations: int
    manifest: dict[str, Any]

    @property
    def path(self) -> Path:
        """Where the policy's arrays lie."""
        return checkpoint_path(self.directory, self.iterations) / "policy"


def find(run: str | Path, step: int | None = None) -> StoredPolicy:
    """Return the newest checkpoint of a run, or the one at `step` iterations.

    Raises:
      UsageError: there is none, or it is damaged or from a newer version.
    """
    directory = Path(run)
    if not directory.is_dir():
        raise UsageError(f"run = {str(run)!r}: no such directory: `mjx-sac train` makes one")
    there = steps(directory)
    if not there:
        raise UsageError(f"run = {str(run)!r}: no checkpoint there: `mjx-sac train` saves one")
    iterations = there[-1] if step is None else step
    if iterations not in there:
        listed = ", ".join(map(str, there))
        raise UsageError(f"step = {step}: no such checkpoint in {run}; there are {listed}")
    try:
        manifest = array_store.manifest(checkpoint_path(directory, iterations) / "policy")
    except array_store.DamagedError as error:
        raise unusable(error, directory, iterations) from None
    config_class = Config
    with contextlib.suppress(UsageError):  # `loader.load` reports it to those who need the losses
        config_class = loader.config_class(manifest["config"].get("losses"))
    config = build(config_class, known(manifest, config_class))
    return StoredPolicy(config, directory, iterations, manifest)


def choose_agent(stored: StoredPolicy, seed_index: int | None = None) -> tuple[Config, int | None]:
    """Return the configuration of one agent, and its index among several; None for a single one.

    It is the `seed_index`th, or UsageError; else the one with the highest return when saved.
    """
    agents = stored.config.population()
    if seed_index is not None and not 0 <= seed_index < len(agents):
        there = f"{len(agents)} agents, 0 to {len(agents) - 1}" if len(agents) > 1 else "one agent"
        raise UsageError(f"seed_index = {seed_index}: {stored.directory} holds {there}")
    if not stored.config.is_population:
        return stored.config, None
    returns = stored.manifest.get("returns") or [None] * len(agents)
    known_returns = [-math.inf if score is None else score for score in returns]
    index = known_returns.index(max(known_returns)) if seed_index is None else seed_index
    return agents[index], index


def unusable(error: array_store.DamagedError, directory: Path, iterations: int) -> UsageError:
    """Return `error` with what can be done to use another checkpoint's policy."""
    others = ", ".join(str(step) for step in steps(directory) if step != iterations)
    way_out = f"choose another --step ({others})" if others else "there is no other checkpoint"
    return UsageError(f"{error}: {way_out}")
