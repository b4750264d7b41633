"""Where a run or a figure comes from: configuration, package versions, commit, device."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mjx_sac.algorithms import loader
from mjx_sac.config import Config, build, marked, renamed, typed
from mjx_sac.envs import views
from mjx_sac.runs import config_files

PLACES = marked(Config, "group", "Devices")
"""Fields that say where a run is computed, which is not inherited."""

_PACKAGES = (
    *("mjx-sac", "jax", "jaxlib", "brax", "mujoco", "mujoco-mjx"),
    *("playground", "warp-lang", "flax", "optax", "numpy"),
)


def description(config: Config, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return configuration, `own` facts of a run, versions, commit, an algorithm's SHA-256."""
    sha256 = loader.sha256(config.algorithm)
    software = {"versions": versions(), "git_commit": git_commit()}
    software |= {"algorithm_sha256": sha256} if sha256 else {}
    return {"config": config.model_dump(mode="json"), **(own or {}), **software}


def current(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest or `kwargs.json` in today's words, by whatever version it was written."""
    found = {**described, "config": renamed(described["config"])}
    if "losses_sha256" in found:
        found["algorithm_sha256"] = found.pop("losses_sha256")
    config = found["config"]
    if str(config.get("env")).startswith("playground/") and "actor_observation" not in config:
        config |= dict.fromkeys(("actor_observation", "critic_observation"), views.WHOLE)
    return found


def known(manifest: Mapping[str, Any], config_class: type[Config]) -> dict[str, Any]:
    """Return the stored configuration that this version knows, without where it was computed."""
    fields = config_class.model_fields
    return {k: v for k, v in manifest["config"].items() if k in fields and k not in PLACES}


def command(config: Config) -> str:
    """Return what trains as `config` says, wherever that was and went."""
    named: dict[str, Any] = {"env": config.env, "algorithm": config.algorithm}
    packaged = config_files.packaged(config.env, config.algorithm, type(config))
    usual = [dict(build(type(config), {**file, **named})) for file in ({}, packaged)]
    given = {k: x for k, x in config if any(x != one[k] for one in usual)}
    kept = {k: x for k, x in given.items() if k not in (*PLACES, "logdir", "track", "track_group")}
    return " ".join(["mjx-sac train", *(typed(k, x) for k, x in (named | kept).items())])


def measured_with() -> dict[str, Any]:
    """Return what a figure was measured with: command, device, cores, versions, commit."""
    import jax

    name = Path(sys.argv[0]).name
    script = f"python benchmarks/{name}" if name.endswith(".py") else name
    return {
        "command": " ".join([script, *sys.argv[1:]]),
        "device": str(jax.devices()[0].device_kind),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def versions() -> dict[str, str | None]:
    """Return versions of the packages that decide what a run computes."""
    return {name: version(name) for name in _PACKAGES}


def version(name: str) -> str | None:
    """Return the installed version of a package; None without one."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit this package runs from, `-dirty` if changed; None outside a repository."""
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return first_line("git", "-C", str(Path(__file__).parent), *describe)


def first_line(*command: str) -> str | None:
    """Return the first line that a command prints; None where it is missing, fails or is silent."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None
