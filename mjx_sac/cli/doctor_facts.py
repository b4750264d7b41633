"""What this machine is like, seen from a run: facts, what is broken with its cure, and what is only worth knowing."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from packaging.requirements import Requirement

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.policy import opengl
from mjx_sac.runs import provenance

_LITTLE = 2e9
"""Bytes of disk or memory that a run with default settings soon fills."""


def facts() -> dict[str, Any]:
    """Versions, devices, ways to OpenGL, the compilation cache, free memory and disk; imports JAX and tries things out."""
    return {
        "versions": {"python": platform.python_version(), **provenance.versions()},
        "unmet": list(unmet()),
        **_devices(),
        "nvidia_gpu": nvidia_gpu(),
        "cuda_plugins": [
            name
            for name in ("jax_cuda12_plugin", "jax_cuda13_plugin")
            if importlib.util.find_spec(name)
        ],
        "gl": {
            backend: opengl.problem(backend)
            for backend in dict.fromkeys((*_chosen_gl(), *opengl.BACKENDS))
        },
        "gl_chosen": next(iter(_chosen_gl()), None),
        "cache": _cache(),
        "disk_free": shutil.disk_usage(".").free,
    }


def problems(found: dict[str, Any]) -> list[str]:
    """A line with its cure for everything in `facts()` that keeps runs from working, or from using the GPU."""
    version = {name: value or "(none)" for name, value in found["versions"].items()}
    lines = [
        f"{package} {requirement}: installed is {there}: pip install '{requirement}'"
        for package, requirement, there in found["unmet"]
    ]
    if version["mujoco"] != version["mujoco-mjx"]:
        lines.append(
            f"mujoco {version['mujoco']} and mujoco-mjx {version['mujoco-mjx']} do not match: "
            f"pip install 'mujoco=={version['mujoco-mjx']}'"
        )
    if found["device_error"]:
        lines.append(
            f"JAX finds no device ({found['device_error']}): unset JAX_PLATFORMS, or install what it names"
        )
    elif found["nvidia_gpu"] and found["platform"] == "cpu":
        lines.append(_unused_gpu(found))
    if len(found["cuda_plugins"]) > 1:
        lines.append(
            "JAX's plugins for CUDA 12 and 13 are both installed: keep one of the extras cuda12 and cuda13"
        )
    chosen = found["gl_chosen"]
    if chosen and found["gl"][chosen]:
        lines.append(
            f"MUJOCO_GL={chosen} does not work ({found['gl'][chosen]}): unset it, and one that works is chosen"
        )
    if found["disk_free"] < _LITTLE:
        lines.append(
            f"only {found['disk_free'] / 1e9:.1f} GB of disk are free here: make room, or train into another --logdir"
        )
    if found["memory_free"] is not None and found["memory_free"] < _LITTLE:
        lines.append(
            f"only {found['memory_free'] / 1e9:.1f} GB of memory are free: end what uses it, or lower buffer_size"
        )
    return lines


def _unused_gpu(found: dict[str, Any]) -> str:
    if found["cuda_plugins"]:
        return f"{found['nvidia_gpu']} is not used though JAX's plugin is there: look at JAX_PLATFORMS, and at the driver"
    return f"{found['nvidia_gpu']} is not used: JAX is installed for CPUs alone: uv run --extra cuda12 (or cuda13) mjx-sac ..."


def notes(found: dict[str, Any]) -> list[str]:
    """What works less well than it could, with its cure, and known limits."""
    lines: list[str] = []
    if all(found["gl"].values()):
        lines.append(f"no OpenGL, so `record` writes .html alone: {opengl.WAY_OUT}")
    if not found["cache"]["writable"]:
        lines.append(
            f"compiled programs are not kept ({found['cache']['directory']} cannot be written to): set XDG_CACHE_HOME"
        )
    try:
        envs.check("swimmer")
    except UsageError as error:
        lines.append(str(error))
    return lines


def unmet() -> Iterator[tuple[str, str, str]]:
    """Requirements, of ours and of what decides a run's numbers, that the installed versions do not meet."""
    for package in provenance.versions():
        try:
            requirements = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, requirements):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                version = "(none)"
            if version == "(none)" or not requirement.specifier.contains(version, prereleases=True):
                yield package, f"{requirement.name}{requirement.specifier}", version


def _devices() -> dict[str, Any]:
    import jax

    from mjx_sac.training.host import memory

    try:
        devices = jax.devices()
    except RuntimeError as error:
        return {
            "device_error": str(error).partition("\n")[0],
            "platform": None,
            "devices": [],
            "memory_free": None,
        }
    kinds = [device.device_kind for device in devices]
    return {
        "device_error": None,
        "platform": devices[0].platform,
        "devices": kinds,
        "memory_free": memory.available(jax.devices("cpu")[0]),
        "device_memory": memory.available(devices[0]),
    }


def nvidia_gpu() -> str | None:
    """Its name, from the driver's own tool."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.partition("\n")[0].strip() or None if result.returncode == 0 else None


def _chosen_gl() -> list[str]:
    return [name] if (name := os.environ.get("MUJOCO_GL")) else []


def _cache() -> dict[str, Any]:
    import jax

    from mjx_sac.training.host import device

    try:
        directory = pathlib.Path(jax.config.values["jax_compilation_cache_dir"] or device.cache())
    except RuntimeError as error:
        return {"directory": f"({error})", "bytes": 0, "writable": False}
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return {
        "directory": str(directory),
        "bytes": size,
        "writable": os.access(existing, os.W_OK | os.X_OK),
    }
