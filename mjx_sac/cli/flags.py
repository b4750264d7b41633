"""Flags that several commands have, and those made from `Config` for commands that train."""

from collections.abc import Callable, Iterator
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from mjx_sac.config import Config, UsageError, flag, mark, renamed, show
from mjx_sac.runs.resolve import Found

if TYPE_CHECKING:
    from mjx_sac.losses import Losses


Command = Callable[..., None]


class Flags(NamedTuple):
    """What a command that trains gets beside its own options.

    Attributes:
      given: hyperparameters as typed: `Config` knows types and bounds, and its messages name them.
      found: what lies where they point.
      losses: those that a script of the user's passed to `cli.main`.
    """

    given: dict[str, Any]
    found: Found
    losses: "Losses | None"


def option(text: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """Return an option with this help; without `names` it has the parameter's name."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


_RUN = typer.Argument(help="a run's directory, or hub:user/name", metavar="RUN")
RunDirectory = Annotated[str, _RUN]


def _step(text: str) -> int | str:
    try:
        return text if text == "best" else int(text)
    except ValueError:
        raise UsageError(f"step = {text!r}: give iterations of a checkpoint, or best") from None


_STEP = "iterations of the checkpoint, or best, by evaluation; else the newest"
Step = Annotated[Any, option(_STEP, parser=_step, metavar="INT|best")]
Device = Annotated[str, option("where to compute: auto, cpu, gpu or tpu")]
Json = Annotated[bool, option("print JSON and nothing else", "--json")]
BestAgent = Annotated[int | None, option("which agent, from 0; else the best", "--seed_index")]
OtherEnv = Annotated[str | None, option("another environment of the same sizes", "--env")]
_RANDOMIZED = "models as in training, `none` for the task's own, or as for train"
Randomization = Annotated[str | None, option(_RANDOMIZED, "--domain_randomization")]
_OPTIONS = "key=value: another value of its configuration, or argument"
OtherOptions = Annotated[list[str] | None, option(_OPTIONS, "--env_option", metavar="KEY=VALUE")]
OtherBackend = Annotated[str | None, option("another engine of Brax", "--backend")]
_EDITED = "run the algorithm's file though it is not the one that the run recorded"
EditedAlgorithm = Annotated[bool, option(_EDITED, "--edited_algorithm", "--edited_losses")]
ConfigFile = Annotated[str | None, option("TOML file of hyperparameters; flags win", panel="Run")]
Overwrite = Annotated[bool, option("restart, deleting the run there", "--overwrite", panel="Run")]
Fallback = Annotated[bool, option("pass over damaged checkpoints", "--fallback", panel="Run")]


def bind(
    command: Command, config_class: type[Config], found: Found | None, losses: "Losses | None"
) -> Command:
    """Return `command` as Typer wants it: its parameter `flags` becomes an option per field."""
    own = signature(command).parameters
    if "flags" not in own:
        return command

    def bound(**values: Any) -> None:
        flags = {name: values.pop(name) for name in (*config_class.model_fields, "losses")}
        given = {name: value for name, value in flags.items() if value not in (None, [])}
        assert found
        command(Flags(renamed(given), found, losses), **values)

    kept = (p.replace(kind=p.KEYWORD_ONLY) for name, p in own.items() if name != "flags")
    parameters = [*kept, *_parameters(config_class)]
    bound.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    bound.__annotations__ = {p.name: p.annotation for p in parameters}
    bound.__doc__ = command.__doc__
    return bound


def _parameters(config_class: type[Config]) -> Iterator[Parameter]:
    """Yield one option per field. Values stay strings here, but a bool is a pair of flags.

    One for a table may be given again and again.
    """
    for name, field in config_class.model_fields.items():
        text = f"{field.description or name.replace('_', ' ')} (default {show(field.default)})"
        typed, kind, metavar = flag(name), str, _metavar(field.annotation)
        if field.annotation is bool:
            typed, kind, metavar = f"--{name}/--no_{name}", bool, None
        elif name.endswith("_options"):
            kind = list[str]
        panel = mark(config_class, name, "group")
        annotation: Any = Annotated[kind | None, option(text, typed, panel=panel, metavar=metavar)]
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    older: Any = Annotated[str | None, option("algorithm", "--losses", hidden=True)]
    yield Parameter("losses", Parameter.KEYWORD_ONLY, default=None, annotation=older)


def _metavar(annotation: Any) -> str:
    text = str(annotation)
    if "Literal" in text:
        return "|".join(get_args(annotation))
    kinds = {"dict": "KEY=VALUE", "tuple": "N,N,...", "int": "INT", "float": "FLOAT"}
    return next((metavar for kind, metavar in kinds.items() if kind in text), "TEXT")
