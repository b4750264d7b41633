"""Data sets by name: a Minari data set, or `run:` and the directory of a run. No JAX."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mjx_sac.config import UsageError, absolute, nearest
from mjx_sac.runs import array_store, minari_files
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.recorded import RINGS, Episode, Recorded

RUN = "run:"
"""What the name of a run's replay buffer begins with."""

_PLACES = ("head", "next", "size")
"""Arrays of `replay.ReplayState` that have environments alone."""


def check(name: str) -> None:
    """Raise UsageError where there is no such data set, without reading what is in it."""
    if name.startswith(RUN):
        _newest(name)
    else:
        minari_files.check(name)


def read(name: str) -> Recorded:
    """Return all transitions of a data set; errors as those of `minari_files.read`."""
    if not name.startswith(RUN):
        return minari_files.read(name)
    return read_run(_newest(name), f"dataset = {name!r}")


def _newest(name: str) -> Path:
    """Return the newest checkpoint of the run that a data set's name means."""
    directory = absolute(name.removeprefix(RUN))
    if there := steps(directory):
        return checkpoint_path(directory, there[-1])
    near = [str(path.name) for path in directory.parent.glob("*") if steps(path)]
    match = nearest(directory.name, near)
    problem = "no checkpoint there" if directory.is_dir() else "no such directory"
    raise UsageError(f"dataset = {name!r}: {problem}{match or ': name the directory of a run'}")


def read_run(checkpoint: Path, label: str) -> Recorded:
    """Return the replay buffer of a run's checkpoint: environment by environment, oldest first.

    Of several agents it is all of theirs. `label` begins what is raised: UsageError, where it is
    damaged or empty.
    """
    try:
        manifest = array_store.manifest(checkpoint / "state")
        arrays = dict(array_store.read(checkpoint / "state", manifest))
    except array_store.DamagedError as error:
        raise UsageError(f"{label}: {error}: name another") from None
    rings = {name: arrays[f"replay.{name}"] for name in (*RINGS, *_PLACES)}
    agents, ended = rings["size"].shape[:-1], arrays["episodes.ended"]
    episodes: list[Episode] = []
    for agent, env in itertools.product(np.ndindex(agents), range(rings["size"].shape[-1])):
        own = {k: x[agent][env] if k in _PLACES else x[agent][:, env] for k, x in rings.items()}
        episodes += _unrolled(own, bool(ended[agent][env]))
    if not episodes:
        raise UsageError(f"{label}: the replay buffer is empty: name a run that has collected some")
    return Recorded.of(episodes, manifest["spaces"])


def _unrolled(rings: Mapping[str, Any], ended: bool) -> list[Episode]:
    """Return the episodes in the rings of one environment, the newest of which has ended or not."""
    slots, rows, size = len(rings["row"]), len(rings["observation"]), int(rings["size"])
    slot = (int(rings["next"]) - size + np.arange(size)) % slots
    row = rings["row"][slot]
    # Where it does not start at the row that follows, another episode begins.
    firsts = np.flatnonzero(np.append(True, (row[1:] - row[:-1]) % rows != 1)) if size else []
    complete = size == int(rings["next"]) and row[:1] == 1  # the first slot and row there are
    episodes: list[Episode] = []
    for first, end in itertools.pairwise([*firsts, size]):
        part = slot[first:end]
        observed = (row[first] + np.arange(end - first + 1)) % rows
        begun, over = bool(first > 0 or complete), bool(end < size or ended)
        terminated = bool(rings["terminated"][part[-1]])
        numbers = rings["observation"][observed], rings["action"][part], rings["reward"][part]
        episodes.append(Episode(*numbers, terminated, begun and over))
    return episodes
