"""What a run's directory says of it, without JAX: for people, and as JSON."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mjx_sac.config import Config, absolute, agent_names
from mjx_sac.runs import array_store, event_files, hub, provenance, stored_policy
from mjx_sac.runs.directory import ITEMS, best_path, checkpoint_path, holder, steps

RETURNS = ("eval/mean_reward", "eval/std_reward", "rollout/ep_rew_mean")


def inspect(run: str | Path) -> dict[str, Any]:
    """Return what there is to know of a run, for JSON; the curves of several agents are averaged.

    Raises:
      UsageError: `run` is no run's directory, or what is there is damaged.
    """
    directory = absolute(hub.local(run))
    description = _description(run, directory)
    config, usual = description["config"], [*Config().model_dump(mode="json").items()]
    usual.append(("schedule_iterations", config["iterations"]))
    agents = {name: event_files.read(directory / name) for name in agent_names(config)}
    curves = _mean(agents) if agents else event_files.read(directory)
    checkpoints = [_checkpoint(checkpoint_path(directory, step)) for step in steps(directory)]
    intact = [one["iterations"] for one in checkpoints if not one["damaged"]]
    points = {tag: {str(x): y for x, y in sorted(curve.items())} for tag, curve in curves.items()}
    return {
        "run": str(run),
        "env": config["env"],
        "iterations": {
            "saved": max(intact, default=0),
            "logged": max((max(curve) for curve in curves.values()), default=0),
            "total": config["iterations"],
        },
        "checkpoints": checkpoints,
        "best": _best(directory),
        "bytes_on_disk": _bytes(directory),
        "agents": {
            name: {tag: _last(of_agent.get(tag, {})) for tag in RETURNS}
            for name, of_agent in agents.items()
        },
        "returns": {tag: points[tag] for tag in RETURNS if tag in points},
        "rates": points.get("time/fps", {}),
        "health": {tag: _last(curve) for tag, curve in curves.items() if tag.startswith("health/")},
        "iterations_per_second": _last(curves.get("time/fps", {})),
        "trained_by": holder(directory),
        "last_written": max(map(os.path.getmtime, directory.rglob("events.*")), default=None),
        "not_default": {k: v for k, v in config.items() if (k, v) not in usual},
        "config": config,
        "versions": description.get("versions", {}),
        "git_commit": description.get("git_commit"),
        "history": description.get("history", []),
    }


def _mean(agents: Mapping[str, event_files.Curves]) -> event_files.Curves:
    """Return the mean over those agents that have a value, point by point."""
    values: dict[str, dict[int, list[float]]] = {}
    for curves in agents.values():
        for tag, curve in curves.items():
            for x, y in curve.items():
                values.setdefault(tag, {}).setdefault(x, []).append(y)
    return {tag: {x: fmean(ys) for x, ys in points.items()} for tag, points in values.items()}


def _description(run: str | Path, directory: Path) -> dict[str, Any]:
    """Return `kwargs.json`, or where there is none what the newest checkpoint says."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads((directory / "kwargs.json").read_text(encoding="utf-8"))
        if {"env", "iterations"} <= found["config"].keys():
            return provenance.current(found)
    return stored_policy.locate(run)[-1]


def _checkpoint(path: Path) -> dict[str, Any]:
    """Return iterations, size, and damage as far as the manifests show it."""
    damaged = None
    try:
        for item in ITEMS:
            if item == "policy" or (path / item).exists():  # else one that was shared without
                array_store.manifest(path / item)
    except array_store.DamagedError as error:
        damaged = str(error)
    return {"iterations": int(path.name), "bytes": _bytes(path), "damaged": damaged}


def _best(directory: Path) -> dict[str, Any] | None:
    """Return iterations and mean return of the best policy, of several agents those of each."""
    path = best_path(directory)
    try:
        manifest = array_store.manifest(path) if path.exists() else None
    except array_store.DamagedError as error:
        return {"iterations": None, "returns": None, "damaged": str(error)}
    keys = ("iterations", "returns")
    return manifest and {**{key: manifest[key] for key in keys}, "damaged": None}


def _bytes(directory: Path) -> int:
    """Return the size of all files; those that checkpoints share count once."""
    sizes: dict[int, int] = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # a run in progress has just deleted it
            stat = path.stat()
            sizes[stat.st_ino] = 0 if path.is_dir() else stat.st_size
    return sum(sizes.values())


def _last(curve: dict[int, float]) -> float | None:
    return curve[max(curve)] if curve else None
