"""What a run will need, before anything is compiled or allocated."""

import math
import os
import pathlib
from typing import Any

import jax

from mjx_sac.config import Config, UsageError
from mjx_sac.training.compiled import population
from mjx_sac.training.compiled.experiment import RunState


def check(config: Config, state: RunState, rows: int, num_devices: int = 1) -> None:
    """Raise UsageError where the first device has not got what the shapes of `state` need.

    `rows` are those of a batch that is learned from; `num_devices` share what is sharded.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":  # the devices of a process share its memory
        num_devices = jax.process_count()
    replay, environments = _size(state.replay), _size(state.episodes)
    transition = replay / math.prod(state.replay.reward.shape)
    # As drawn, and normalised.
    drawn = config.num_agents * config.updates_per_vector_step * (config.batch_size + rows)
    drawn *= config.history
    copies = num_devices if config.is_population else 1  # one agent's networks are replicated
    parts = {
        "replay buffer": replay // num_devices,
        "networks": _size(state.train) // copies,
        "environments": environments // num_devices,
        "batches": round(transition * drawn) // num_devices,
    }
    if population.take_turns(config, state):
        parts["the agent whose turn it is"] = _size(state.saved) // config.num_agents
    if state.dataset is not None:
        parts["data set"] = _size(state.dataset)  # on every device
    if device.platform == "cpu":  # a copy is written while training continues
        parts["checkpoint"] = _size(state.saved)
    needed, there = sum(parts.values()), available(device)
    if there is None or needed <= there:
        return
    split = ", ".join(f"{name} {_for_people(size)}" for name, size in parts.items())
    fields = {"replay buffer": "buffer_size", "environments": "num_envs", "data set": "dataset"}
    name = fields[max(fields, key=lambda part: parts.get(part, 0))]
    agents = f" for {config.num_agents} agents" if config.is_population else ""
    fewer = " or num_seeds" if config.num_seeds > 1 else ""
    if config.members and not fewer:
        fewer = " or try fewer at once"
    way_out = "name a smaller one" if name == "dataset" else f"lower {name}{fewer}"
    raise UsageError(
        f"{name} = {getattr(config, name)}: the run needs about {_for_people(needed)}{agents} "
        f"({split}), and {device.device_kind} has {_for_people(there)} to give: {way_out}"
    )


def _size(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def available(device: Any = None) -> int | None:
    """Return how many bytes a device, or this machine, has to give; None where nobody knows."""
    if device and device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    limits = [_number("/proc/meminfo", "MemAvailable:", 1024), _container()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container() -> int | None:
    """Return what a container (cgroup 2) has left."""
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    return limit - used if limit is not None and used is not None else None


def _number(path: str, label: str = "", unit: int = 1) -> int | None:
    """Return the number after `label` in a file of the kernel's."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        return int(text[text.index(label) + len(label) :].split()[0]) * unit
    except (OSError, ValueError, IndexError):
        return None  # not this kernel, or "max": no limit


def _for_people(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
