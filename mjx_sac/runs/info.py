"""What can be told of a run from its directory, without JAX: for people, and as JSON."""

import contextlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from mjx_sac.config import Config, agent_names
from mjx_sac.runs import array_store, event_files, stored_policy
from mjx_sac.runs.directory import ITEMS, steps

Curves = dict[str, dict[int, float]]
"""By tag, values by iterations."""

RETURNS = ("eval/mean_reward", "eval/std_reward", "rollout/ep_rew_mean")


def inspect(run: str | pathlib.Path) -> dict[str, Any]:
    """Configuration, progress, checkpoints, curves' last values, versions and commit; of several agents the mean curves.

    Raises:
      UsageError: `run` is no run's directory, or what is there is damaged.
    """
    directory = pathlib.Path(run)
    description = _description(directory)
    config = description["config"]
    defaults = Config().model_dump(mode="json")
    agents = {name: event_files.read(directory / name) for name in agent_names(config)}
    curves = _mean(agents) if agents else event_files.read(directory)
    checkpoints = [_checkpoint(directory / "checkpoints" / str(step)) for step in steps(directory)]
    whole = [checkpoint["iterations"] for checkpoint in checkpoints if not checkpoint["damaged"]]
    logged = [max(curve) for curve in curves.values()]
    return {
        "run": str(run),
        "env": config["env"],
        "iterations": {
            "saved": max(whole, default=0),
            "logged": max(logged, default=0),
            "total": config["iterations"],
        },
        "checkpoints": checkpoints,
        "bytes_on_disk": _bytes(directory.rglob("*")),
        "agents": {
            name: {tag: _last(curves.get(tag, {})) for tag in RETURNS}
            for name, curves in agents.items()
        },
        "returns": {
            tag: {str(x): curves[tag][x] for x in sorted(curves[tag])}
            for tag in RETURNS
            if tag in curves
        },
        "iterations_per_second": _last(curves.get("time/fps", {})),
        "not_default": {
            name: value
            for name, value in config.items()
            if name not in defaults or value != defaults[name]
        },
        "config": config,
        "versions": description.get("versions", {}),
        "git_commit": description.get("git_commit"),
    }


def _mean(agents: Mapping[str, Curves]) -> Curves:
    """Over agents, wherever any of them has something."""
    tags = dict.fromkeys(tag for curves in agents.values() for tag in curves)
    found = {tag: [curves[tag] for curves in agents.values() if tag in curves] for tag in tags}
    return {
        tag: {
            x: fmean(curve[x] for curve in curves if x in curve)
            for x in sorted(set().union(*curves))
        }
        for tag, curves in found.items()
    }


def _description(directory: pathlib.Path) -> dict[str, Any]:
    """`kwargs.json`, which is there before the first checkpoint, or else what the newest checkpoint says."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads((directory / "kwargs.json").read_text())
        if {"env", "iterations"} <= found["config"].keys():
            return found
    return stored_policy.find(directory).manifest


def _checkpoint(path: pathlib.Path) -> dict[str, Any]:
    """Damage that its manifests show; whole files are only read by those who use them."""
    damaged = None
    try:
        for item in ITEMS:
            array_store.manifest(path / item)
    except array_store.DamagedError as error:
        damaged = str(error)
    return {"iterations": int(path.name), "bytes": _bytes(path.rglob("*")), "damaged": damaged}


def _bytes(paths: Iterable[pathlib.Path]) -> int:
    """Of all files among them; those that checkpoints share count once."""
    sizes: dict[int, int] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # a run that goes on has just deleted it
            stat = path.lstat()
            sizes[stat.st_ino] = 0 if path.is_dir() else stat.st_size
    return sum(sizes.values())


def _last(curve: dict[int, float]) -> float | None:
    return curve[max(curve)] if curve else None
