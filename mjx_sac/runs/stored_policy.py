"""Read-only view of a checkpoint, for eval, record and export. Imports no JAX."""

import contextlib
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mjx_sac.algorithms import loader
from mjx_sac.config import Config, UsageError, absolute, build
from mjx_sac.runs import array_store, hub, provenance
from mjx_sac.runs.directory import best_path, checkpoint_path, steps

Which = int | Literal["best"] | None
"""A checkpoint by its iterations, the best policy by evaluation, or the newest checkpoint."""


class StoredPolicy(NamedTuple):
    """The policy part of a checkpoint, or the best policy by evaluation.

    Attributes:
      path: where the policy's arrays lie.
      manifest: of these arrays, which are not verified yet.
    """

    config: Config
    directory: Path
    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> Which:
        """What `find` finds it by."""
        return "best" if self.path == best_path(self.directory) else self.iterations()

    def iterations(self, index: int | None = None) -> int:
        """Return after how many it was saved: each agent's best has its own, of which without
        `index` it is the last.
        """
        saved = self.manifest["iterations"]
        return saved if isinstance(saved, int) else max(saved) if index is None else saved[index]


def find(run: str | Path, step: Which = None, *, edited_algorithm: bool = False) -> StoredPolicy:
    """Return the newest checkpoint of a run, the one at `step` iterations, or the "best" policy.

    Raises:
      UsageError: there is none, it is damaged or from a newer version, or its algorithm's file is
        not the one that it was trained with, unless `edited_algorithm` executes what that says now.
    """
    directory, path, manifest = locate(run, step)
    algorithm, config_class = manifest["config"].get("algorithm", "sac"), Config
    if not edited_algorithm:
        loader.check_recorded(algorithm, manifest.get("algorithm_sha256"), run)
    with contextlib.suppress(UsageError):  # `loader.load` reports it to those who need the file
        config_class = loader.config_class(algorithm)
    config = build(config_class, provenance.known(manifest, config_class))
    return StoredPolicy(config, directory, path, manifest)


def locate(run: str | Path, step: Which = None) -> tuple[Path, Path, dict[str, Any]]:
    """Return directory, path and manifest, as `find` has them; executes nothing."""
    directory = absolute(hub.local(run))
    if not directory.is_dir():
        raise UsageError(f"run = {str(run)!r}: no such directory: `mjx-sac train` makes one")
    path = _path(run, directory, step)
    try:
        manifest = array_store.manifest(path)
    except array_store.DamagedError as error:
        raise unusable(error, directory, path) from None
    return directory, path, provenance.current(manifest)


def _path(run: str | Path, directory: Path, step: Which) -> Path:
    """Return where the policy lies; UsageError, which names the run as it was typed, if nowhere."""
    there = steps(directory)
    if not there:
        raise UsageError(f"run = {str(run)!r}: no checkpoint there: `mjx-sac train` saves one")
    listed = f"there are {', '.join(map(str, there))}"
    if step == "best":
        if not best_path(directory).exists():
            raise UsageError(f"step = 'best': {run} has kept no evaluation; {listed}")
        return best_path(directory)
    if step is not None and step not in there:
        raise UsageError(f"step = {step}: no such checkpoint in {run}; {listed}")
    return checkpoint_path(directory, there[-1] if step is None else step) / "policy"


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
    if not stored.iterations(index):
        raise UsageError(f"seed_index = {index}: no evaluation of this agent was kept: try another")
    return agents[index], index


def unusable(error: array_store.DamagedError, directory: Path, path: Path) -> UsageError:
    """Return `error`, of the policy in `path`, with what can be done to use another."""
    others = ", ".join(
        str(step) for step in steps(directory) if checkpoint_path(directory, step) != path.parent
    )
    way_out = f"choose another --step ({others})" if others else "there is no other checkpoint"
    return UsageError(f"{error}: {way_out}")
