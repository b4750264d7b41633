"""`mjx-sac doctor`: what is wrong with this machine, with the cure."""

import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from mjx_sac.cli.flags import Json
from mjx_sac.cli.output import size
from mjx_sac.config import surroundings
from mjx_sac.policy import opengl
from mjx_sac.runs import provenance
from mjx_sac.training.host.console import print_line

_LITTLE = 2e9
"""Bytes of disk or memory that a run with default settings soon fills."""


def doctor(as_json: Json = False) -> None:
    """Say what this machine has and what is wrong with it.

    Each problem is a line with its cure, and makes the exit code 2.

    Example: mjx-sac doctor
    """
    found = facts()
    found |= {"problems": problems(found), "notes": notes(found)}
    print_line(json.dumps(found, indent=1) if as_json else _report(found))
    if found["problems"]:
        raise typer.Exit(2)


def _report(found: dict[str, Any]) -> str:
    versions = [f"{name} {version or '(none)'}" for name, version in found["versions"].items()]
    gl = [f"{name} {error or 'works'}" for name, error in found["gl"].items()]
    memory, cache = found["memory_free"], found["cache"]
    lines = [
        f"versions  {', '.join(versions)}",
        f"devices   {', '.join(found['devices']) or '(none)'}",
        f"OpenGL    {', '.join(gl)}",
        f"cache     {cache['directory']}, {size(cache['bytes'])}",
        f"memory    {'?' if memory is None else size(memory)} free",
        f"disk      {size(found['disk_free'])} free here",
        *(f"note: {note}" for note in found["notes"]),
        *(f"problem: {problem}" for problem in found["problems"] or ["none"]),
    ]
    return "\n".join(lines)


def facts() -> dict[str, Any]:
    """Return what there is on this machine, for JSON; imports JAX and tries OpenGL."""
    import jax

    from mjx_sac.training.host import device as host
    from mjx_sac.training.host import memory

    flags_error = host.flags_problem()
    error = flags_error or host.problem()
    devices = [] if error else jax.devices()
    chosen, plugins = os.environ.get("MUJOCO_GL"), ("jax_cuda12_plugin", "jax_cuda13_plugin")
    backends = dict.fromkeys(filter(None, (chosen, *opengl.BACKENDS)))
    return {
        "versions": {"python": platform.python_version(), **provenance.versions()},
        "unmet": list(unmet(provenance.versions())),
        "flags_error": flags_error,
        "device_error": error,
        "settings_not_used": surroundings.not_used,
        "platform": devices[0].platform if devices else None,
        "devices": [device.device_kind for device in devices],
        "memory_free": memory.available(),
        "device_memory": memory.available(devices[0]) if devices else None,
        "bfloat16": host.multiplies_bfloat16() if devices else None,
        "nvidia_gpu": nvidia_gpu(),
        "cuda_plugins": [name for name in plugins if importlib.util.find_spec(name)],
        "gl": {backend: opengl.problem(backend) for backend in backends},
        "gl_chosen": chosen,
        "cache": _cache(jax.config.values["jax_compilation_cache_dir"]),
        "disk_free": shutil.disk_usage(".").free,
    }


def problems(found: dict[str, Any]) -> list[str]:
    """Return a line, with its cure, for each fact that keeps runs from working or from the GPU."""
    error, gpu, plugins = (found[name] for name in ("device_error", "nvidia_gpu", "cuda_plugins"))
    flags = found["flags_error"]
    idle, gl = gpu and found["platform"] == "cpu", found["gl"].get(found["gl_chosen"])
    disk, memory = found["disk_free"], found["memory_free"] or math.inf
    mujoco, mjx = (found["versions"][name] for name in ("mujoco", "mujoco-mjx"))
    unset = "unset JAX_PLATFORMS, or install what it names"
    cuda = "uv run --extra cuda12 mjx-sac ..., or pip install -e '.[cuda12]'; or cuda13"
    checks = [
        (flags, flags),
        (error and not flags, f"JAX finds no device ({error}): {unset}"),
        (idle and plugins, f"{gpu} is not used by JAX's plugin: see JAX_PLATFORMS and the driver"),
        (idle and not plugins, f"{gpu} is not used: {cuda}, by its driver"),
        (mujoco != mjx, f"mujoco is {mujoco}, mujoco-mjx {mjx}: pip install 'mujoco=={mjx}'"),
        (len(plugins) > 1, "both CUDA plugins are installed: keep one extra, cuda12 or cuda13"),
        (gl, f"MUJOCO_GL={found['gl_chosen']} does not work ({gl}): unset it, or choose another"),
        (disk < _LITTLE, f"{size(disk)} of disk are free here: make room, or change --logdir"),
        (memory < _LITTLE, f"{size(memory)} of memory are free: lower buffer_size"),
    ]
    lines = [
        f"{package} needs {wanted}, installed is {there}: pip install '{wanted}'"
        for package, wanted, there in found["unmet"]
    ]
    return lines + [line for applies, line in checks if applies]


def notes(found: dict[str, Any]) -> list[str]:
    """Return a line, with its cure, for each fact that makes runs slower or poorer."""
    from mjx_sac.training.host import device as host

    places = "XDG_CACHE_HOME or JAX_COMPILATION_CACHE_DIR to what can be written to"
    checks = [
        (all(found["gl"].values()), f"no OpenGL, `record` writes .html only: {opengl.WAY_OUT}"),
        (not found["cache"]["writable"], f"compiled programs are not kept: set {places}"),
        (found["bfloat16"] is False, f"{host.NO_BFLOAT16}: leave it at default"),
    ]
    unused = [f"{setting} is not used in a run: unset it" for setting in found["settings_not_used"]]
    return [line for applies, line in checks if applies] + unused


def unmet(packages: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield a package, a requirement of it that is not met, and the version there is."""
    from packaging.requirements import Requirement  # a dependency of tensorboardX

    for package in filter(provenance.version, packages):
        for requirement in map(Requirement, importlib.metadata.requires(package) or []):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            there = provenance.version(requirement.name)
            if there is None or not requirement.specifier.contains(there, prereleases=True):
                yield package, f"{requirement.name}{requirement.specifier}", there or "(none)"


def nvidia_gpu() -> str | None:
    """Return the first GPU's name from the driver's own tool; None without a driver."""
    return provenance.first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _cache(configured: str | None) -> dict[str, Any]:
    from mjx_sac.training.host import device

    try:
        directory = Path(configured or device.cache())
    except RuntimeError as error:
        return {"directory": f"({error})", "bytes": 0, "writable": False}
    existing = next(path for path in (directory, *directory.parents) if os.path.exists(path))
    total = sum(path.stat().st_size for path in directory.rglob("*") if os.path.isfile(path))
    writable = os.access(existing, os.W_OK | os.X_OK)
    return {"directory": str(directory), "bytes": total, "writable": writable}
