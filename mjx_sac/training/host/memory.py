"""What a run will need, before anything is compiled or allocated."""

import math
import os
import pathlib
from typing import Any

import jax

from mjx_sac.config import Config, UsageError
from mjx_sac.training.compiled.epoch import RunState


def check(config: Config, state: RunState, device: Any, num_devices: int = 1) -> None:
    """Estimates memory from shapes.

    Args:
      config: for the size of a vector step's batches.
      state: shapes of everything the run keeps.
      device: a `jax.Device`.
      num_devices: how many, each with memory of its own, share what is split.

    Raises:
      UsageError: the device has not got so much, with both figures.
    """
    parts = {
        "replay buffer": _size(state.replay),
        "networks": _size(state.train),
        "environments": _size(state.episodes),
    }
    transition = _size(state.replay) / math.prod(state.replay.reward.shape)
    batches = config.num_agents * config.updates_per_vector_step * config.batch_size
    parts["batches"] = round(2 * transition * batches)  # as drawn, and normalised
    networks = 1 if not config.is_population else num_devices
    parts = {
        name: size // (networks if name == "networks" else num_devices)
        for name, size in parts.items()
    }
    if device.platform == "cpu":
        parts["checkpoint"] = _size(state)  # the copy that is written while training goes on
    needed, there = sum(parts.values()), available(device)
    if there is not None and needed > there:
        split = ", ".join(f"{name} {show(size)}" for name, size in parts.items())
        name = "buffer_size" if parts["replay buffer"] >= parts["environments"] else "num_envs"
        agents = f" for {config.num_agents} agents" if config.is_population else ""
        fewer = (
            " or num_seeds"
            if config.num_seeds > 1
            else " or try fewer at once"
            if config.members
            else ""
        )
        raise UsageError(
            f"{name} = {getattr(config, name)}: the run needs about {show(needed)}{agents} ({split}), and {device.device_kind} has "
            f"{show(there)} to give: lower {name}{fewer}"
        )


def _size(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def available(device: Any) -> int | None:
    """Bytes that a device has to give, or None where nobody knows."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats.get("bytes_limit")
    limits = [_number("/proc/meminfo", "MemAvailable:", 1024), _container()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container() -> int | None:
    """What a container (cgroup 2) has left."""
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    return limit - used if limit is not None and used is not None else None


def _number(path: str, label: str = "", unit: int = 1) -> int | None:
    """The number after `label` in a file of the kernel's."""
    try:
        text = pathlib.Path(path).read_text()
        return int(text[text.index(label) + len(label) :].split()[0]) * unit
    except (OSError, ValueError, IndexError):
        return None  # not this kernel, or "max": no limit


def show(size: float) -> str:
    """For people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
