"""A run's directory and where its configuration comes from. Nothing here needs JAX, so bad input is refused at once."""

import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import tomllib
from collections.abc import Generator
from typing import Any, NamedTuple

from mjx_sac import algorithm, envs, provenance, snapshot
from mjx_sac.config import PLACES, Config, UsageError, agent_names, build, field_info, nearest

ITEMS = ("state", "policy")
"""The parts of a checkpoint: what a run needs to go on, and what acting needs."""

_OURS = ("kwargs.json", "checkpoints")  # in this order: half-removed checkpoints must not look like a run


class Run(NamedTuple):
    """A run on disk, seen from a configuration.

    Attributes:
      config: what it is to be trained with.
      directory: where it lies.
      latest: iterations of the newest checkpoint to go on from, or None.
      changed: fields that differ from the stored run's, with the old and the new value.
      damaged: checkpoints newer than `latest` that cannot be used.
      edited: the losses file is not what it was when `latest` was saved.
    """

    config: Config
    directory: pathlib.Path
    latest: int | None
    changed: dict[str, tuple[Any, Any]]
    damaged: list[int]
    edited: bool = False


def resolve(
    given: dict[str, Any],
    *,
    config_file: str | None = None,
    overwrite: bool = False,
    fallback: bool = False,
    config_class: type[Config] = Config,
) -> Config:
    """The configuration: defaults, under `configs/<env>.toml`, under that of the run to go on with, under `config_file`,
    under `given`.

    Raises:
      UsageError: one line for the first thing that is wrong. Nothing has been written.
    """
    config_class, explicit, stored, where = _layers(given, config_file, overwrite, fallback, config_class)
    if config_file:
        read_toml(pathlib.Path(config_file), config_class)  # again: now that all hyperparameters are known
    if stored:
        return build(config_class, {**known(stored, config_class), "logdir": None, **explicit})
    base, fields = packaged(where.env, config_class), config_class.model_fields
    # What an algorithm says for itself comes before what was found for soft actor-critic.
    base = {name: value for name, value in base.items() if fields[name].default == Config.model_fields[name].default}
    return build(config_class, {**base, **explicit})


def config_class_for(given: dict[str, Any], config_file: str | None, overwrite: bool, fallback: bool, default: Any) -> type[Config]:
    """The type of what `resolve` will return: a losses file's, where one is named, or `default`."""
    return _layers(given, config_file, overwrite, fallback, default)[0]


def _layers(
    given: dict[str, Any], config_file: str | None, overwrite: bool, fallback: bool, default: type[Config]
) -> tuple[type[Config], dict[str, Any], dict[str, Any] | None, Config]:
    """The type, what file and flags say, the manifest of the run to go on with, and where that lies."""
    explicit = {**(read_toml(pathlib.Path(config_file), None) if config_file else {}), **given}
    where = build(Config, {name: explicit[name] for name in ("env", "logdir") if name in explicit})
    directory = pathlib.Path(where.run_dir)
    _check_writable(directory)
    stored = None if overwrite else _latest(directory, fallback=fallback)[1]
    losses = {**(stored["config"] if stored else {}), **explicit}.get("losses")
    return algorithm.config_class(losses, default), explicit, stored, where


def attach(config: Config, *, overwrite: bool = False, fallback: bool = False, check_env: bool = True, verify: bool = False) -> Run:
    """Looks for a run to go on with where `config` says, and checks all that can be checked without JAX.

    Args:
      config: the hyperparameters.
      overwrite: look for none.
      fallback: pass over checkpoints that are damaged.
      check_env: `config.env` names the environment.
      verify: read whole checkpoints for damage, not their manifests alone.

    Raises:
      UsageError: the environment, device or directory cannot be used, or the run there was another one or is damaged.
    """
    if check_env:
        envs.check(config.env, config.impl)
    check_device(config.device)
    directory = pathlib.Path(config.run_dir)
    _check_writable(directory)
    latest, manifest = (None, None) if overwrite else _latest(directory, fallback=fallback, verify=verify)
    if latest is None or manifest is None:
        return Run(config, directory, None, {}, [])
    here = {name: getattr(config, name) for name in ("logdir", *PLACES)}
    stored = {**build(type(config), {**known(manifest, type(config)), "logdir": config.logdir}).model_dump(), **here}
    changed = {k: (stored[k], value) for k, value in config.model_dump().items() if value != stored[k]}
    fixed = {k: pair for k, pair in changed.items() if field_info(type(config), k, "fixed")}
    if fixed:
        fields = ", ".join(f"{name} {old!r} (now {new!r})" for name, (old, new) in fixed.items())
        raise UsageError(
            f"{directory} holds a run with {fields}: leave that as it is, choose another --logdir, or start anew with --overwrite"
        )
    newer = [step for step in steps(directory) if step > latest]
    edited = "losses" not in changed and manifest.get("losses_sha256") != algorithm.sha256(config.losses)
    return Run(config, directory, latest, changed, newer, edited)


def packaged(env: str, config_class: type[Config]) -> dict[str, Any]:
    """`configs/<env>.toml`: inside the wheel where installed, at the top of the repository otherwise."""
    here = pathlib.Path(__file__).parent
    name = env.replace("/", "_").replace(":", "_") + ".toml"
    for path in (here / "configs" / name, here.parent / "configs" / name):
        if path.is_file():
            return read_toml(path, config_class)
    return {}


def read_toml(path: pathlib.Path, config_class: type[Config] | None = Config) -> dict[str, Any]:
    """The hyperparameters in a TOML file; without a class, whatever is in it.

    Raises:
      UsageError: the file is missing or malformed (with its line), or has an unknown key.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"config = {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"config = {str(path)!r}: not a text file") from None
    except tomllib.TOMLDecodeError as error:
        place = str(error).replace("at end of document", f"at the end, line {len(path.read_text().splitlines())}")
        raise UsageError(f"config = {str(path)!r}: {place}") from None
    for name in values:
        if config_class and name not in config_class.model_fields:
            hint = nearest(name, list(config_class.model_fields))
            raise UsageError(f"config = {str(path)!r}: {name}: no such hyperparameter{hint}")
    return values


def steps(directory: pathlib.Path) -> list[int]:
    """Iterations of all complete checkpoints, oldest first. One that is being written has another name."""
    return sorted(int(p.name) for p in (directory / "checkpoints").glob("*") if p.name.isdigit())


def damaged(error: snapshot.DamagedError) -> UsageError:
    """What to do about it."""
    return UsageError(
        f"{error}: go on from the checkpoint before it with --fallback, choose another --logdir, or start anew with --overwrite"
    )


def _latest(directory: pathlib.Path, *, fallback: bool = False, verify: bool = False) -> tuple[int | None, dict[str, Any] | None]:
    """Iterations and manifest of the newest checkpoint, or with `fallback` of the newest that is not damaged."""
    check = snapshot.verify if verify else snapshot.manifest
    first = None
    for step in reversed(steps(directory)):
        try:
            manifests = [check(directory / "checkpoints" / str(step) / item) for item in ITEMS]
            return step, manifests[0]
        except snapshot.DamagedError as error:
            if not fallback:
                raise damaged(error) from None
            first = first or error
    if first:
        raise UsageError(f"{first}, and no older checkpoint is whole: choose another --logdir, or start anew with --overwrite")
    return None, None


def known(manifest: dict[str, Any], config_class: type[Config]) -> dict[str, Any]:
    """The stored configuration, without what this version does not know and where it was computed."""
    return {k: v for k, v in manifest["config"].items() if k in config_class.model_fields and k not in PLACES}


def set_aside(run: Run) -> None:
    """Renames damaged checkpoints, so that the run can save at their iterations again and nothing is lost."""
    for step in run.damaged:
        path = run.directory / "checkpoints" / str(step)
        target = path.with_name(f"damaged-{step}")
        while target.exists():  # the same iterations were damaged before
            target = target.with_name(f"{target.name}-again")
        path.replace(target)


@contextlib.contextmanager
def lock(directory: pathlib.Path) -> Generator[None]:
    """Holds a run's directory, making it if need be. The system lets go of it when the process ends, however it ends.

    Raises:
      UsageError: the directory cannot be made, or another process holds it.
    """
    new = not directory.exists()
    create(directory)
    path = directory / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UsageError(
                f"logdir = {str(directory)!r}: process {file.read().strip() or '(unknown)'} trains there: wait for it, stop it, "
                f"or choose another --logdir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            if new and [*directory.iterdir()] == [path]:  # training never began: leave nothing behind
                path.unlink()
                directory.rmdir()


def check_device(device: str) -> None:
    """Refuses a device that this JAX has no support for, without importing it."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
    if device == "gpu" and not any(importlib.util.find_spec(name) for name in plugins):
        raise UsageError(
            "device = 'gpu': this JAX has no GPU support: install the extra, as in `uv run --extra cuda12 mjx-sac ...`"
        )
    if device == "tpu" and importlib.util.find_spec("libtpu") is None:
        raise UsageError("device = 'tpu': this JAX has no TPU support: install jax[tpu]")


def _check_writable(directory: pathlib.Path) -> None:
    """Without writing: the nearest existing ancestor must be a directory we may write to."""
    existing = directory
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise UsageError(f"logdir = {str(directory)!r}: {error.strerror}: choose another --logdir") from None
    if not existing.is_dir():
        raise UsageError(f"logdir = {str(directory)!r}: {existing} is a file: choose another --logdir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"logdir = {str(directory)!r}: {existing} cannot be written to: choose another --logdir")


def clear(directory: pathlib.Path) -> None:
    """Removes an older run: its checkpoints, event files and `kwargs.json`, and nothing else that lies there."""
    with contextlib.suppress(Exception):  # no kwargs.json, or none that can be read: there is no population then
        for name in agent_names(json.loads((directory / _OURS[0]).read_text())["config"]):
            clear(directory / name)
            (directory / name).rmdir()
    for path in [*(directory / name for name in _OURS), *directory.glob("events.out.tfevents.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def create(directory: pathlib.Path) -> None:
    """Makes the run's directory.

    Raises:
      UsageError: it cannot be made, which permissions alone do not tell: root may write everywhere, but not in /proc.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"logdir = {str(directory)!r}: {error.strerror}: choose another --logdir") from None


def write_kwargs(run: Run) -> None:
    """`kwargs.json`: what `provenance.description` says, for people and scripts; a run goes on from its checkpoints alone.

    Each agent of a population has one of its own, in its own directory.
    """
    described = provenance.description(run.config)
    _write_json(run.directory, described)
    for name, agent in zip(run.config.member_names(), run.config.population(), strict=False):  # an agent alone has no name
        create(run.directory / name)
        _write_json(run.directory / name, {**described, "config": agent.model_dump(mode="json")})


def _write_json(directory: pathlib.Path, described: dict[str, Any]) -> None:
    temporary = directory / "kwargs.json.tmp"
    temporary.write_text(json.dumps(described, indent=2) + "\n")
    temporary.replace(directory / "kwargs.json")  # atomic: a crash leaves the old file or the new one
