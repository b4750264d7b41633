"""The epoch as JAX lowered it, kept from start to start: tracing it takes half of a warm one.

`jax.export` writes it, as StableHLO and shapes and no pickle, beside the programs that XLA keeps. A
file's name is a digest of all that decides what is in it, so none is ever out of date. Only what
comes with packages is kept, and only by the command: of a user's environment or losses nobody can
say what they depend on, and a program that calls us may have changed anything.
"""

import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from mjx_sac import envs
from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import Config, ordinary_jax, surroundings
from mjx_sac.envs.host.protocol import in_background
from mjx_sac.envs.spaces import mujoco_model
from mjx_sac.runs import provenance
from mjx_sac.training.compiled import population
from mjx_sac.training.compiled.experiment import Experiment, RunState

_MOST = 64
"""Files kept; the ones that were used last."""


class Early(NamedTuple):
    """What is known before the environment is: the names that a kept epoch may have, and of one
    that is there the program, which loads while the environment is built.
    """

    names: Path
    file: Path | None = None
    compiled: Future[Any] | None = None

    def path(self, env: Any) -> Path:
        """Return where the epoch is kept, now that `env` is what the configuration names."""
        model = hashlib.sha256(_bytes(mujoco_model(getattr(env, "env", env))))
        return self.names.with_name(f"{self.names.name}-{model.hexdigest()[:16]}")


def begin(config: Config, compiler_options: Mapping[str, Any]) -> Early | None:
    """Begin to load what seems to be kept for a run with its algorithm's networks and losses; None
    where nothing may be kept.
    """
    names = _names(config)
    if names is None:
        return None
    for file in names.parent.glob(f"{names.name}-*"):
        if exported := _read(file):
            load = partial(_compile, exported, compiler_options)
            return Early(names, file, in_background(ordinary_jax()(load)))
    return Early(names)


def _names(config: Config) -> Path | None:
    if not surroundings.own():
        return None
    directory = jax.config.values["jax_compilation_cache_dir"]
    devices = (config.num_devices or 1) * (config.num_processes or 1)
    if not directory or "://" in directory or devices > 1 or config.impl == "warp":
        return None
    if not (envs.packaged(config.env) and config.algorithm in PACKAGED):
        return None
    if config.dataset or config.env_options or ":" in (config.domain_randomization or ""):
        return None
    digest = hashlib.sha256(json.dumps(_decides(config), sort_keys=True, default=str).encode())
    for source in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(source.read_bytes())
    return Path(directory) / "lowered" / digest.hexdigest()


def _decides(config: Config) -> dict[str, Any]:
    """Return what decides, beside this package and the environment's model, what is traced."""
    settings = {k: v for k, v in jax.config.values.items() if not k.endswith("_dir")}
    return {
        "config": config.model_dump(
            mode="json",
            exclude={"logdir", "from_run", "seed", "track", "track_group", "film_interval"},
        ),
        "versions": [provenance.versions(), provenance.version("gymnasium"), sys.version],
        "jax": settings,
        "device": [(each.platform, each.device_kind) for each in jax.devices()],
    }


def _bytes(model: Any) -> bytes:
    """Return a MuJoCo model as MuJoCo writes it, or nothing."""
    if model is None:
        return b""
    mujoco: Any = importlib.import_module("mujoco")
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def lower(
    experiment: Experiment, state: RunState, file: Path, early: Early | None = None
) -> Callable[..., Any]:
    """Return what compiles `population.epoch`, `(compiler_options) -> epoch`, for such a `state`.

    It is the one that loads already, or in `file`, or else traced, and written to it.
    """
    leaves, structure = jax.tree.flatten(state)
    if early and early.compiled and early.file == file:
        finish = lambda _, loading=early.compiled: loading.result()  # noqa: E731
    else:
        exported = _read(file) or _write(file, _export(experiment, leaves, structure))
        finish = partial(_compile, exported)

    def compile(compiler_options: Mapping[str, Any]) -> Callable[[RunState], Any]:
        compiled = finish(compiler_options)

        def epoch(state: RunState) -> tuple[RunState, dict[str, Any]]:
            after, metrics = compiled(*jax.tree.leaves(state))
            return jax.tree.unflatten(structure, after), metrics

        return epoch

    return compile


def _compile(exported: export.Exported, compiler_options: Mapping[str, Any]) -> Any:
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in exported.in_avals]
    donated = tuple(range(len(shapes)))
    lowered = jax.jit(exported.call, donate_argnums=donated).lower(*shapes)
    return lowered.compile(dict(compiler_options))


def _export(experiment: Experiment, leaves: list[Any], structure: Any) -> export.Exported:
    def epoch(*leaves: Any) -> tuple[list[Any], dict[str, Any]]:
        state, metrics = population.epoch(experiment)(jax.tree.unflatten(structure, leaves))
        return jax.tree.leaves(state), metrics

    return export.export(jax.jit(epoch))(*leaves)


def _read(file: Path) -> export.Exported | None:
    """Return what is kept there; None where nothing is, or nothing that JAX can read."""
    with contextlib.suppress(Exception):
        exported = export.deserialize(bytearray(file.read_bytes()))
        os.utime(file)
        return exported
    return None


def _write(file: Path, exported: export.Exported) -> export.Exported:
    """Keep it, and forget those that were not used for longest; a full disk costs only time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
            unfinished.write(exported.serialize())
        Path(unfinished.name).replace(file)
        others = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in others[:-_MOST]:
            old.unlink(missing_ok=True)
    return exported
