"""An algorithm of one's own, as `losses` in the configuration names it. Importing this does not import JAX; a losses file will.

A losses file is Python that defines `losses`, a `mjx_sac.Losses`. It may also define `Config`, a subclass with more
hyperparameters or other defaults, and `networks(config, action_size)`, which returns `mjx_sac.networks.Networks`.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mjx_sac.config import Config, UsageError

if TYPE_CHECKING:
    from mjx_sac.losses import Losses
    from mjx_sac.networks import Networks
    from mjx_sac.trainer import Agent


class Algorithm(NamedTuple):
    """What a losses file gives.

    Attributes:
      losses: the three losses.
      config_class: the hyperparameters.
      networks: makes actor and critics.
      sha256: of the file; None for soft actor-critic.
    """

    losses: "Losses"
    config_class: type[Config]
    networks: "Callable[[Config, int], Networks]"
    sha256: str | None


_found: dict[str, Algorithm] = {}


def load(config: Config) -> Algorithm:
    """The algorithm that `config.losses` names, or soft actor-critic.

    Raises:
      UsageError: there is none, or `config` lacks its hyperparameters.
    """
    if config.losses is None:
        from mjx_sac import networks
        from mjx_sac.losses import Losses

        return Algorithm(Losses(), Config, networks.make, None)
    algorithm = find(config.losses)
    missing = algorithm.config_class.model_fields.keys() - type(config).model_fields.keys()
    if missing:
        fields = ", ".join(sorted(missing))
        raise UsageError(f"losses = {config.losses!r}: needs a configuration with {fields}: make it with mjx_sac.resolve")
    return algorithm


def config_class(losses: Any, default: type[Config] = Config) -> type[Config]:
    """The configuration that an algorithm wants, which says what flags there are. JAX is imported only where it has a file."""
    return find(losses).config_class if isinstance(losses, str) and losses.lower() not in ("none", "auto") else default


def sha256(losses: str | None) -> str | None:
    """Of the file as it was when it was last loaded; an editor may have changed it since."""
    return (_found.get(losses) or find(losses)).sha256 if losses else None


def find(losses: str) -> Algorithm:
    """Loads a file, again where it has changed, or the module of `module:attribute`, once.

    Raises:
      UsageError: one line, with the place in the file where it has one.
    """
    name, attribute = _split(losses)
    source, file = _source(losses)
    digest = hashlib.sha256(source).hexdigest()
    found = _found.get(losses)
    if found is None or (found.sha256 != digest and not name):
        try:
            module = importlib.import_module(name) if name else _execute(source, file)
        except (Exception, SystemExit) as error:
            raise _blame(losses, error, file) from error
        found = _check(losses, module, attribute, digest)
        found = _found[losses] = found._replace(networks=partial(_make_networks, losses, file, found.networks))
    return found


def _make_networks(losses: str, file: str, factory: Any, config: Config, action_size: int) -> "Networks":
    from mjx_sac.networks import Networks

    try:
        made = factory(config, action_size)
    except Exception as error:
        raise _blame(losses, error, file) from error
    if not isinstance(made, Networks):
        raise UsageError(f"losses = {losses!r}: networks: returns a {type(made).__name__}, no mjx_sac.networks.Networks")
    return made


def _split(losses: str) -> tuple[str | None, str]:
    """Module and attribute; no module where it is a file."""
    module, colon, attribute = losses.partition(":")
    return (module, attribute) if colon and not losses.endswith(".py") else (None, "losses")


def _source(losses: str) -> tuple[bytes, str]:
    """A file's content and name."""
    module, file = _split(losses)[0], losses
    try:
        if module:
            if "" not in sys.path:  # a module of the user's may lie in the directory the command was started in
                sys.path.insert(0, "")
            spec = importlib.util.find_spec(module)
            if not (spec and spec.origin):
                raise ImportError(f"no module named {module!r}")
            file = spec.origin
        return pathlib.Path(file).read_bytes(), file
    except OSError as error:
        reason = error.strerror
    except (ImportError, ValueError) as error:
        reason = str(error)
    raise UsageError(
        f"losses = {losses!r}: {reason}: name a file, from the directory you are in, or module:attribute; a run remembers the "
        f"name it began with"
    )


def _execute(source: bytes, file: str) -> types.ModuleType:
    """What `import` would make of it, but always of these very bytes."""
    directory = str(pathlib.Path(file).absolute().parent)
    if directory not in sys.path:
        sys.path.append(directory)  # for modules beside it
    module = types.ModuleType(f"losses_{pathlib.Path(file).stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # annotations of its classes are looked up there
    exec(compile(source, file, "exec"), module.__dict__)
    return module


def _check(losses: str, module: types.ModuleType, attribute: str, digest: str) -> Algorithm:
    from mjx_sac import networks as ours
    from mjx_sac.losses import Losses

    def wrong(message: str) -> UsageError:
        return UsageError(f"losses = {losses!r}: {message}")

    triple, hyperparameters = getattr(module, attribute, None), getattr(module, "Config", Config)
    if not isinstance(triple, Losses):
        found = "no such name" if triple is None or inspect.ismodule(triple) else f"a {type(triple).__name__}"
        raise wrong(f"`{attribute}` is {found} there: write {attribute} = mjx_sac.Losses(critic=..., actor=..., temperature=...)")
    if not (isinstance(hyperparameters, type) and issubclass(hyperparameters, Config)):
        raise wrong("`Config` is no subclass of mjx_sac.Config")
    factory = getattr(module, "networks", ours.make)
    factory = ours.make if factory is ours else factory  # `from mjx_sac import networks` is no factory
    try:
        _fits("networks", "(config, action_size)", factory, 0, 0)
        for name in ("critic", "actor", "temperature"):
            signature = "(params, state, batch, key, *, networks, config)"
            _fits(name, signature, getattr(triple, name), 0, 0, 0, 0, networks=0, config=0)
    except TypeError as error:
        raise wrong(str(error)) from None
    return Algorithm(triple, hyperparameters, factory, digest)


def _fits(name: str, signature: str, function: Any, *positional: int, **keywords: int) -> None:
    try:
        inspect.signature(function).bind(*positional, **keywords)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {error}: its signature must be {signature}") from None


def check(agent: "Agent") -> None:
    """Traces one gradient step of an algorithm with a file: what is wrong inside a loss shows before anything is compiled.

    Raises:
      UsageError: one line, with the place in the file where it has one; the whole traceback is its cause.
    """
    import jax
    import jax.numpy as jnp

    from mjx_sac import sac
    from mjx_sac.types import Transition

    name, config, env = agent.config.losses, agent.config, agent.episodes.env
    if name is None:
        return
    shapes = ((env.observation_size,), (env.action_size,), (), (), (env.observation_size,))
    static: dict[str, Any] = {"networks": agent.networks, "config": config, "losses": agent.losses}

    def step(key: Any) -> Any:
        state = sac.init(key, env.observation_size, env.action_size, **static)
        batch = Transition(*(jnp.zeros((config.batch_size, *shape)) for shape in shapes))
        for how in (key, None):
            action = sac.act(state.actor_params, batch.observation, how, networks=agent.networks)
            if action.shape != batch.action.shape:
                raise ValueError(f"the actor's actions have shape {action.shape}, not {batch.action.shape}")
        return sac.update(state, batch, jax.random.split(key), **static)[1]

    try:
        metrics = jax.eval_shape(step, jax.random.PRNGKey(0))
    except Exception as error:
        raise _blame(name, error, _source(name)[1]) from error
    odd = [tag for tag, value in metrics.items() if value.shape and (value.shape[0] != config.batch_size or not value.size)]
    if odd:
        want = f"a scalar, or an array with the batch's {config.batch_size} rows on its first axis"
        raise UsageError(f"losses = {name!r}: metric {odd[0]} has shape {metrics[odd[0]].shape}: make it {want}")


def _blame(losses: str, error: BaseException, file: str) -> UsageError:
    """One line, with the last place in the file that the error passed through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines, error = [error.lineno], SyntaxError(error.msg)
    place = f"line {lines[-1]}: " if lines else ""
    message = next(iter(str(error).splitlines()), "")
    return UsageError(f"losses = {losses!r}: {place}{type(error).__name__}: {message}")
