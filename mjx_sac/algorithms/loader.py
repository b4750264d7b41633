"""Find and load the algorithm that a name means: packaged, a file, or `module:attribute`.

Importing this imports no JAX; an algorithm's file does.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import Config, UsageError, absolute, import_from_here, nearest, with_line

if TYPE_CHECKING:
    from mjx_sac.algorithms.base import Algorithm
    from mjx_sac.networks import Networks


class Found(NamedTuple):
    """What a file defines, its hash (None where no file was loaded), and where it was found."""

    algorithm: "Algorithm"
    config_class: type[Config]
    sha256: str | None = None
    file: str = ""


_loaded: dict[str, Found] = {}


def load(config: Config) -> "Algorithm":
    """Return the algorithm that `config` names; UsageError where `config` lacks its fields."""
    found = find(config.algorithm)
    missing = found.config_class.model_fields.keys() - type(config).model_fields.keys()
    if missing:
        needs = f"needs a configuration with {', '.join(sorted(missing))}"
        raise UsageError(f"algorithm = {config.algorithm!r}: {needs}: make it with mjx_sac.resolve")
    return found.algorithm


def config_class(name: str, default: type[Config] = Config) -> type[Config]:
    """Return the configuration class of an algorithm: its fields are the flags there are.

    Soft actor-critic's is `default`: a script may have one of its own.
    """
    return default if name == "sac" else find(name).config_class


def table(name: str) -> str:
    """Return what a TOML file calls an algorithm's table: its name, that of its file or module."""
    module, _ = _split(name)
    return module.rpartition(".")[2] if module else pathlib.Path(name).stem


def sha256(name: str) -> str | None:
    """Return the hash of the file as last loaded; an editor may have changed it since."""
    return (_loaded.get(name) or find(name)).sha256


def find(name: str) -> Found:
    """Load an algorithm: a file again where it has changed, a module once.

    Raises:
      UsageError: one line, with the place in the file where it has one.
    """
    if name == "sac":  # no module of this package, but `mjx_sac.losses`
        from mjx_sac.algorithms.base import Algorithm

        return Found(Algorithm(), Config)
    module_name, attribute = _split(name)
    source, file = source_of(name)
    digest = hashlib.sha256(source).hexdigest()
    found = _loaded.get(name)
    if found and (found.sha256 == digest or module_name):
        return found
    try:
        module = importlib.import_module(module_name) if module_name else _import_file(file, source)
    except (Exception, SystemExit) as error:
        raise usage_error_at(name, error, file) from error
    _loaded[name] = Found(*_read(name, module, attribute), digest, file)
    return _loaded[name]


def check_recorded(name: str, recorded: str | None, run: object) -> None:
    """Raise UsageError where the file is not the one that a run recorded; executes nothing.

    Ours need not be, and one that is gone cannot be executed.
    """
    if name in PACKAGED:
        return
    try:
        source = source_of(name)[0]
    except UsageError:
        return
    if hashlib.sha256(source).hexdigest() != recorded:
        problem = f"not the file that {run} was trained with (its SHA-256 differs)"
        way_out = "restore it, or run what it says now with --edited_algorithm"
        raise UsageError(f"algorithm = {name!r}: {problem}: {way_out}")


def source_of(name: str) -> tuple[bytes, str]:
    """Return content and name of the file that `name` means, or raise UsageError."""
    module, file = _split(name)[0], name
    try:
        if module:
            import_from_here()
            spec = importlib.util.find_spec(module)
            if not (spec and spec.origin):
                raise ImportError(f"no module named {module!r}")
            file = spec.origin
        elif not absolute(file).exists() and name in _loaded:  # we are in another directory now
            file = _loaded[name].file
        path = absolute(file)
        return path.read_bytes(), str(path)
    except OSError as error:
        is_path = name.endswith(".py") or "/" in name
        reason = error.strerror if is_path else "no such algorithm or file"
    except (ImportError, ValueError) as error:
        reason = str(error)
    hint = nearest(name, [*PACKAGED]).replace("; ", ": ")
    way_out = "or name a file, from the directory you are in, or module:attribute"
    known = f"there are {', '.join(PACKAGED)}; {way_out}. A run remembers the name it began with"
    raise UsageError(f"algorithm = {name!r}: {reason}{hint or ':'} {known}")


def usage_error_at(name: str, error: BaseException, file: str = "") -> UsageError:
    """Return `error` as one line, with the last place in the file that it passed through.

    `file` is only needed until it has been loaded.
    """
    return UsageError(f"algorithm = {name!r}: {with_line(error, file or _loaded[name].file)}")


def _split(name: str) -> tuple[str | None, str]:
    """Return module and attribute; no module where `name` is a file."""
    if name in PACKAGED:
        return f"mjx_sac.algorithms.{name}", "losses"
    module, colon, attribute = name.partition(":")
    return (module, attribute) if colon and not name.endswith(".py") else (None, "losses")


def _import_file(file: str, source: bytes) -> types.ModuleType:
    """Run the very source that was hashed, never the bytecode that Python may have cached."""
    path = pathlib.Path(file).absolute()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for modules beside it
    module = types.ModuleType(f"algorithm_{path.stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    return module


_SIGNATURES = {
    "networks": "(config, action_size)",
    "optimizers": "(config)",
    "project": "(params)",
    "augment": "(batch, key)",
    "values": "(output, config)",
    "update": "(state, batch, keys, *, networks, config, losses)",
}
"""Of what a module may define beside its losses."""

_LOSS = "(params, state, batch, key, *, networks, config)"


def _read(name: str, module: types.ModuleType, attribute: str) -> "tuple[Algorithm, type[Config]]":
    """Return what a module defines, checked."""
    from mjx_sac.algorithms.base import Algorithm
    from mjx_sac.losses import Losses

    def wrong(message: str) -> UsageError:
        return UsageError(f"algorithm = {name!r}: {message}")

    triple, config_class = getattr(module, attribute, None), getattr(module, "Config", Config)
    if not isinstance(triple, Losses):
        absent = triple is None or inspect.ismodule(triple)
        found = "no such name" if absent else f"a {type(triple).__name__}"
        way_out = f"write {attribute} = mjx_sac.Losses(critic=..., actor=..., temperature=...)"
        raise wrong(f"`{attribute}` is {found} there: {way_out}")
    if not (isinstance(config_class, type) and issubclass(config_class, Config)):
        raise wrong("`Config` is no subclass of mjx_sac.Config")
    for field in config_class.unused:
        if field not in config_class.model_fields:
            raise wrong(f"Config.unused: {field}: no such hyperparameter")
    for part in ("critic", "actor", "temperature"):
        _check_signature(wrong, part, _LOSS, getattr(triple, part))
    algorithm = Algorithm(triple, **_parts(module, wrong))
    checked = partial(_make_networks, name, algorithm.networks)
    return algorithm._replace(networks=checked), config_class


def _parts(module: types.ModuleType, wrong: Callable[[str], UsageError]) -> dict[str, Any]:
    """Return what a module defines beside its losses and its configuration."""
    from mjx_sac.algorithms.base import Exploration

    named = {name: getattr(module, name, None) for name in (*_SIGNATURES, "explore")}
    # No modules, as there are after `from mjx_sac import networks`.
    own = {k: v for k, v in named.items() if v is not None and not inspect.ismodule(v)}
    for name in own.keys() & _SIGNATURES.keys():
        _check_signature(wrong, name, _SIGNATURES[name], own[name])
    if not isinstance(own.get("explore"), Exploration | None):
        way_out = "write explore = mjx_sac.algorithms.base.Exploration(init=..., act=...)"
        raise wrong(f"`explore` is a {type(own['explore']).__name__}: {way_out}")
    return own


def _check_signature(
    wrong: Callable[[str], UsageError], name: str, expected: str, function: Any
) -> None:
    """Raise UsageError where `function` cannot be called as `expected`, such as "(a, *, b)"."""
    positional, _, keyword = expected.strip("()").partition("*, ")
    arguments = dict.fromkeys(filter(None, keyword.split(", ")))
    try:
        inspect.signature(function).bind(*filter(None, positional.split(", ")), **arguments)
    except (TypeError, ValueError) as error:
        raise wrong(f"{name}: {error}: its signature must be {expected}") from None


def _make_networks(name: str, factory: Any, config: Config, action_size: int) -> "Networks":
    """Call the module's `networks`, with what goes wrong in one line."""
    from mjx_sac.networks import Networks

    try:
        made = factory(config, action_size)
    except (Exception, SystemExit) as error:
        raise usage_error_at(name, error) from error
    if not isinstance(made, Networks):
        problem = f"returns a {type(made).__name__}, no mjx_sac.networks.Networks"
        raise UsageError(f"algorithm = {name!r}: networks: {problem}")
    return made
