"""Where a run or a figure comes from: configuration, package versions, commit, device. JAX is imported for the last alone."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from mjx_sac.algorithms import loader
from mjx_sac.config import Config

_PACKAGES = (
    "mjx-sac",
    "jax",
    "jaxlib",
    "brax",
    "mujoco",
    "mujoco-mjx",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
)


def description(config: Config) -> dict[str, Any]:
    """The resolved configuration, package versions, git commit, and the losses file's SHA-256 where there is one."""
    described = {
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    return (
        {**described, "losses_sha256": loader.sha256(config.losses)} if config.losses else described
    )


def measured_with() -> dict[str, Any]:
    """What a figure was measured with: the command, device, cores, versions and commit."""
    import jax

    name = pathlib.Path(sys.argv[0]).name
    return {
        "command": " ".join(
            [f"python benchmarks/{name}" if name.endswith(".py") else name, *sys.argv[1:]]
        ),
        "device": str(jax.devices()[0].device_kind),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def versions() -> dict[str, str | None]:
    """Versions of the packages that decide what a run computes."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return {name: version(name) for name in _PACKAGES}


def git_commit() -> str | None:
    """The commit this package runs from, with `-dirty` where files differ from it; None outside a repository."""
    command = [
        "git",
        "-C",
        str(pathlib.Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
