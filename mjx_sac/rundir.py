"""A run's directory and where its configuration comes from. Nothing here needs JAX, so bad input is refused at once."""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import tomllib
from typing import Any, NamedTuple

from mjx_sac import envs
from mjx_sac.config import Config, UsageError, build, field_info, nearest

_OURS = ("kwargs.json", "checkpoints")  # in this order: half-removed checkpoints must not look like a run
_PACKAGES = ("mjx-sac", "jax", "jaxlib", "brax", "mujoco", "mujoco-mjx", "flax", "optax", "orbax-checkpoint", "numpy")


class Run(NamedTuple):
    """A run on disk, seen from a configuration.

    Attributes:
      config: what it is to be trained with.
      directory: where it lies.
      latest: iterations of the newest checkpoint to go on from, or None.
      changed: fields that differ from the stored run's, with the old and the new value.
    """

    config: Config
    directory: pathlib.Path
    latest: int | None
    changed: dict[str, tuple[Any, Any]]


def resolve(
    given: dict[str, Any],
    *,
    config_file: str | None = None,
    overwrite: bool = False,
    config_class: type[Config] = Config,
) -> Config:
    """The configuration: defaults, under `configs/<env>.toml`, under that of the run to go on with, under `config_file`,
    under `given`.

    Raises:
      UsageError: one line for the first thing that is wrong. Nothing has been written.
    """
    explicit = {**(read_toml(pathlib.Path(config_file), config_class) if config_file else {}), **given}
    where = build(config_class, {name: explicit[name] for name in ("env", "logdir") if name in explicit})
    base = packaged(where.env, config_class)
    directory = pathlib.Path(where.run_dir)
    _check_writable(directory)
    if not overwrite and latest_step(directory) is not None:
        base = {**_stored(directory, config_class), "logdir": None}
    return build(config_class, {**base, **explicit})


def attach(config: Config, *, overwrite: bool = False, check_env: bool = True) -> Run:
    """Looks for a run to go on with where `config` says, and checks all that can be checked without JAX.

    Raises:
      UsageError: the environment, device or directory cannot be used, or the run there was another one.
    """
    if check_env:
        envs.check(config.env)
    _check_device(config.device)
    directory = pathlib.Path(config.run_dir)
    _check_writable(directory)
    latest = None if overwrite else latest_step(directory)
    if latest is None:
        return Run(config, directory, None, {})
    stored = build(type(config), {**_stored(directory, type(config)), "logdir": config.logdir}).model_dump()
    changed = {k: (stored[k], value) for k, value in config.model_dump().items() if value != stored[k]}
    fixed = {k: pair for k, pair in changed.items() if field_info(type(config), k, "fixed")}
    if fixed:
        fields = ", ".join(f"{name} {old!r} (now {new!r})" for name, (old, new) in fixed.items())
        raise UsageError(
            f"{directory} holds a run with {fields}: leave that as it is, choose another --logdir, or start anew with --overwrite"
        )
    return Run(config, directory, latest, changed)


def packaged(env: str, config_class: type[Config]) -> dict[str, Any]:
    """`configs/<env>.toml`: inside the wheel where installed, at the top of the repository otherwise."""
    here = pathlib.Path(__file__).parent
    name = env.replace("/", "_").replace(":", "_") + ".toml"
    for path in (here / "configs" / name, here.parent / "configs" / name):
        if path.is_file():
            return read_toml(path, config_class)
    return {}


def read_toml(path: pathlib.Path, config_class: type[Config] = Config) -> dict[str, Any]:
    """The hyperparameters in a TOML file.

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
        if name not in config_class.model_fields:
            hint = nearest(name, list(config_class.model_fields))
            raise UsageError(f"config = {str(path)!r}: {name}: no such hyperparameter{hint}")
    return values


def latest_step(directory: pathlib.Path) -> int | None:
    """Iterations of the newest complete checkpoint."""
    steps = [int(p.name) for p in (directory / "checkpoints").glob("*") if p.name.isdigit()]
    return max(steps, default=None)


def _stored(directory: pathlib.Path, config_class: type[Config]) -> dict[str, Any]:
    path = directory / "kwargs.json"
    try:
        stored = json.loads(path.read_text())["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}), so the run cannot go on: choose another --logdir or start "
            f"anew with --overwrite"
        ) from None
    return {name: value for name, value in stored.items() if name in config_class.model_fields}


def _check_device(device: str) -> None:
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
    """`kwargs.json`: the resolved configuration, package versions and git commit."""
    config = run.config.model_dump(mode="json")
    text = json.dumps({"config": config, "versions": versions(), "git_commit": git_commit()}, indent=2)
    temporary = run.directory / "kwargs.json.tmp"
    temporary.write_text(text + "\n")
    temporary.replace(run.directory / "kwargs.json")  # atomic: a crash leaves the old file or the new one


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
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
