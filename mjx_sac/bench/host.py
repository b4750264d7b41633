"""What a run does beside its epochs: the host logs and saves, and policies are evaluated."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.bench.spread import Spread, spread
from mjx_sac.config import Config, due
from mjx_sac.runs.checkpoint import Checkpoints, restore
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.experiment import RunState
from mjx_sac.training.host import monitor


def logging(config: Config, state: RunState, epoch: Any, repeats: int) -> Spread:
    """Return the seconds for which the device waits after an epoch: to fetch, check, log."""
    metrics = jax.block_until_ready(epoch(jax.tree.map(jnp.copy, state))[1])
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        writer = EventWriter(Path(directory), 0, print)
        for i in range(repeats):
            started = time.perf_counter()
            raw = jax.device_get(metrics)
            writer.log(i, monitor.scalars(raw, config, config.warm_up_steps, 1.0))
            seconds.append(time.perf_counter() - started)
        writer.close()
    return spread(seconds)


def checkpoint(state: RunState, repeats: int) -> dict[str, Any]:
    """Return size and seconds of a run's first checkpoint: later ones share files with it.

    Training stands still for `stall_seconds`; the rest of `save_seconds` is in the background.
    """
    seconds: dict[str, list[float]] = {"save": [], "stall": [], "load": []}
    size = 0.0
    items = {"state": state, "policy": (state.train.actor, state.normalizer)}
    shapes = jax.eval_shape(lambda: state)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            checkpoints = Checkpoints(directory, 1, {}, fetch=sharding.fetch)
            started = time.perf_counter()
            checkpoints.save(1, items)
            checkpoints.wait()
            seconds["save"].append(time.perf_counter() - started)
            started = time.perf_counter()
            place = lambda _, x: sharding.place(x, None)  # noqa: E731
            jax.block_until_ready(restore(directory, 1, shapes, place))
            seconds["load"].append(time.perf_counter() - started)
            seconds["stall"].append(checkpoints.cost["checkpoint/stall_seconds"])
            size = checkpoints.cost["checkpoint/bytes"]
            checkpoints.close()
    return {"bytes": size, **{f"{name}_seconds": spread(x) for name, x in seconds.items()}}


def shares(
    config: Config, rates: Mapping[str, float], log: Spread, saved: Mapping[str, Any]
) -> dict[str, float]:
    """Return shares of a run's time at default intervals, by what else it does than epochs.

    Evaluation is left out where its rate is not known.
    An epoch counts as one of `config`, which may be shorter.
    """
    usual = config.model_copy(update={"log_interval": None})
    ends = range(usual.epoch_iterations, config.iterations + 1, usual.epoch_iterations)
    evaluations = sum(due.evaluates(usual, now - usual.epoch_iterations, now) for now in ends)
    seconds = {
        "logging": len(ends) * log["median"],
        "checkpoints": len(ends) * saved["stall_seconds"]["median"],
    }
    if rate := rates.get("evaluation"):
        seconds["evaluation"] = evaluations * max(config.episodes_per_eval, 1) / rate
    whole = config.iterations / rates["epoch"] + sum(seconds.values())
    return {name: part / whole for name, part in seconds.items()}
