"""Where a configuration comes from, and which run it starts or resumes.

Nothing here imports JAX, so bad input is refused at once, and nothing here writes.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mjx_sac import envs
from mjx_sac.algorithms import loader, owners
from mjx_sac.config import (
    Config,
    UsageError,
    absolute,
    build,
    due,
    layered,
    mark,
    renamed,
    require,
)
from mjx_sac.runs import array_store, config_files, dataset, provenance, warm_start
from mjx_sac.runs.directory import ITEMS, OTHERWISE, check_writable, checkpoint_path, steps


class Found(NamedTuple):
    """What there is before hyperparameters are known.

    Attributes:
      directory: from the root, as everywhere: an environment may change the current one.
      step: iterations of its newest usable checkpoint; None where there is none to resume from.
      manifest: of that checkpoint's state.
      file: what the configuration file says for the algorithm.
      algorithm: its name.
      config_class: the hyperparameters of the algorithm that is named, there or here.
    """

    directory: Path
    step: int | None
    manifest: dict[str, Any] | None
    file: dict[str, Any]
    algorithm: str
    config_class: type[Config]


class Run(NamedTuple):
    """A run on disk, as a configuration sees it.

    Attributes:
      latest: iterations of the checkpoint to resume from; None where training begins.
      manifest: of that checkpoint's state.
      steps: all checkpoints that were there; those after `latest` are damaged.
      changed: fields that differ from the stored run's: old and new value.
      edited: the algorithm's file is not what it was when `latest` was saved.
    """

    config: Config
    directory: Path
    latest: int | None = None
    manifest: dict[str, Any] | None = None
    steps: tuple[int, ...] = ()
    changed: Mapping[str, tuple[Any, Any]] = MappingProxyType({})
    edited: bool = False

    @property
    def finished(self) -> str | None:
        """What says that nothing is left to train, and the way on; None where something is."""
        config, latest, manifest = self.config, self.latest or 0, self.manifest or {}
        if latest >= config.iterations:
            done = f"{latest:,} of {config.iterations:,} iterations are done"
            return f"{done}. A larger --iterations resumes it"
        if manifest.get("evaluated") and due.reached(config, manifest["returns"]):
            done = f"at {latest:,} iterations its return has reached stop_at {config.stop_at:g}"
            return f"{done}. A higher --stop_at, or none, resumes it"
        return None


def resolve(
    given: dict[str, Any],
    *,
    config_file: str | None = None,
    overwrite: bool = False,
    fallback: bool = False,
    config_class: type[Config] = Config,
) -> Config:
    """Return the configuration. Where a value comes from, later wins: the algorithm's defaults,
    those packaged for the environment, the run to resume, `config_file`, `given`.

    Args:
      given: hyperparameters by name.
      config_file: TOML.
      overwrite: ignore a run that is there.
      fallback: pass over checkpoints that are damaged.
      config_class: the hyperparameters there are, where no algorithm has its own.

    Raises:
      UsageError: one line for the first thing that is wrong. Nothing has been written.
    """
    return configure(find(given, config_file, overwrite, fallback, config_class), given)


def find(
    given: dict[str, Any],
    config_file: str | None = None,
    overwrite: bool = False,
    fallback: bool = False,
    config_class: type[Config] = Config,
) -> Found:
    """Look at what `env`, `logdir` and `algorithm` name; arguments and errors as `resolve`."""
    file = renamed(config_files.read(absolute(config_file))) if config_file else {}
    explicit = {**file, **renamed(given)}
    named = build(Config, {k: v for k, v in explicit.items() if k in config_files.RUN})
    directory = absolute(named.run_dir)
    check_writable(directory)
    step, manifest = (None, None) if overwrite else newest(directory, fallback=fallback)
    stored = manifest["config"] if manifest else {}
    algorithm = {**stored, **explicit}.get("algorithm", named.algorithm)
    config_class = loader.config_class(algorithm, config_class)
    if config_file:
        file = config_files.select(file, config_file, algorithm, config_class)
    return Found(directory, step, manifest, file, algorithm, config_class)


def configure(found: Found, given: dict[str, Any]) -> Config:
    """Return the configuration that `found` and `given` make; errors as `resolve`."""
    config_class, given = found.config_class, renamed(given)
    for name in given:
        if name not in config_class.model_fields and (others := ", ".join(owners(name))):
            problem = f"no hyperparameter of algorithm {found.algorithm!r}, but of {others}"
            raise UsageError(f"{name}: {problem}: leave it out, or choose another algorithm")
    explicit = layered(found.file, given)
    if found.manifest:
        base = {**provenance.known(found.manifest, config_class), "logdir": None}
    else:
        env = build(Config, {k: v for k, v in explicit.items() if k == "env"}).env
        base = config_files.packaged(env, found.algorithm, config_class)
    return build(config_class, layered(base, explicit))


def attach(
    config: Config, *, overwrite: bool = False, fallback: bool = False, check_env: bool = True
) -> Run:
    """Return the run that `config` starts or resumes, after all checks that need no JAX.

    `overwrite` and `fallback` as `resolve`; without `check_env` the environment is another's.

    Raises:
      UsageError: the environment, device or directory cannot be used, or the run there was another
        one or is damaged.
    """
    directory = absolute(config.run_dir)
    check_writable(directory)
    step, manifest = (None, None) if overwrite else newest(directory, fallback=fallback)
    return attach_at(config, directory, step, manifest, check_env=check_env)


def attach_at(
    config: Config,
    directory: Path,
    step: int | None,
    manifest: dict[str, Any] | None,
    *,
    check_env: bool = True,
) -> Run:
    """`attach` to the checkpoint at `step`, whose manifest has been read."""
    _check_what_is_named(config, check_env)
    if step is None or manifest is None:
        if config.from_run:
            warm_start.check(config)
        return Run(_scheduled(config, config), directory)
    stored = provenance.known(manifest, type(config))
    then = build(type(config), {**stored, "logdir": config.logdir})
    then = _scheduled(then, then)
    config = _scheduled(config, then)
    before, now = then.model_dump(), config.model_dump(exclude={*provenance.PLACES})
    changed = {k: (before[k], new) for k, new in now.items() if new != before[k]}
    fixed = {k: values for k, values in changed.items() if mark(type(config), k, "fixed")}
    if fixed:
        listed = ", ".join(f"{k} {old!r} (now {new!r})" for k, (old, new) in fixed.items())
        there = f"{config.run_dir} holds a run with {listed}"
        raise UsageError(f"{there}: leave that as it is, {OTHERWISE}")
    same_file = manifest.get("algorithm_sha256") == loader.sha256(config.algorithm)
    edited = "algorithm" not in changed and not same_file
    return Run(config, directory, step, manifest, tuple(steps(directory)), changed, edited)


def _check_what_is_named(config: Config, check_env: bool) -> None:
    if check_env:
        envs.check(config.env, config.impl, config.env_options)
    check_device(config.device)
    if config.dataset:
        dataset.check(config.dataset)
    elif config.offline:
        raise UsageError("offline: there is nothing to learn from: name a --dataset")
    for name in config.trackers:
        require([name], name, f"track = {name!r}")
    if config.film_interval:
        require(["PIL"], "record", f"film_interval = {config.film_interval}")


def check_environment(run: Run, now: Mapping[str, Any] | None) -> None:
    """Raise UsageError where the environment's own configuration is not the run's, if known."""
    then = (run.manifest or {}).get("env_config")
    if then is None or now is None or then == now:
        return
    name = min(name for name in {*then, *now} if then.get(name) != now.get(name))
    values = f"{then.get(name)!r} (now {now.get(name)!r})"
    there = f"env = {run.config.env!r}: {run.config.run_dir} holds a run with {name} {values}"
    way_out = "install the version it began with, which kwargs.json names"
    raise UsageError(f"{there}: {way_out}, {OTHERWISE}")


def _scheduled(config: Config, first: Config) -> Config:
    """Return `config` with its schedules over the iterations of the first start, unless it says."""
    over = config.schedule_iterations or first.schedule_iterations or first.iterations
    return config.model_copy(update={"schedule_iterations": over})


def newest(
    directory: Path, *, fallback: bool = False, before: int | None = None
) -> tuple[int | None, dict[str, Any] | None]:
    """Return iterations and state manifest of the newest checkpoint, or two Nones.

    Only those `before` so many iterations count. `fallback` passes over damaged manifests.

    Raises:
      UsageError: it is damaged, or with `fallback` all of them are.
    """
    first = None
    for step in reversed([step for step in steps(directory) if before is None or step < before]):
        try:
            path = checkpoint_path(directory, step)
            manifests = {item: array_store.manifest(path / item) for item in ITEMS}
            return step, provenance.current(manifests["state"])
        except array_store.DamagedError as error:
            if not any(directory.glob("checkpoints/*/state")):
                where = f"logdir = {str(directory)!r}: was shared without its checkpoint"
                way_out = "pull it again after `mjx-sac push --checkpoint`"
                raise UsageError(f"{where}: {way_out}, {OTHERWISE}") from None
            if not fallback:
                raise damaged(error) from None
            first = first or error
    if first or before is not None:
        raise UsageError(f"{first or directory}, and no older checkpoint is whole: {OTHERWISE}")
    return None, None


def damaged(error: array_store.DamagedError) -> UsageError:
    """Return `error` with what to do about it."""
    return UsageError(f"{error}: resume from the one before with --fallback, {OTHERWISE}")


def check_device(device: str) -> None:
    """Raise UsageError for a device that this JAX has no support for, without importing it."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
    if device == "gpu" and not any(map(importlib.util.find_spec, plugins)):
        way_out = "`pip install -e '.[cuda12]'`, or `uv run --extra cuda12 mjx-sac ...`"
        raise UsageError(f"device = 'gpu': this JAX has no GPU support: {way_out}")
    if device == "tpu" and importlib.util.find_spec("libtpu") is None:
        raise UsageError("device = 'tpu': this JAX has no TPU support: install jax[tpu]")
