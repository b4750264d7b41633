"""Flags that several commands have, and those made from `Config` for commands that train."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mjx_sac.cli.output import show
from mjx_sac.config import Config, mark
from mjx_sac.runs.resolve import Found

if TYPE_CHECKING:
    from mjx_sac.losses import Losses


class Flags(NamedTuple):
    """What a command that trains gets beside its own options.

    Attributes:
      given: the hyperparameters on the command line, as typed: `Config` knows types and bounds,
        and its messages name them.
      found: what lies where they point.
      losses: those that a script of the user's passed to `cli.main`.
    """

    given: dict[str, Any]
    found: Found
    losses: "Losses | None"


def option(text: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """Return an option with this help; without `names` it has the parameter's name."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


RunDirectory = Annotated[str, typer.Argument(help="the run's directory", metavar="RUN")]
Step = Annotated[int | None, option("iterations of the checkpoint; auto is the newest")]
Device = Annotated[str, option("where to compute: auto, cpu, gpu or tpu")]
Json = Annotated[bool, option("print JSON and nothing else", "--json")]
BestAgent = Annotated[
    int | None, option("which of several agents, from 0; auto is the best", "--seed_index")
]
ConfigFile = Annotated[
    str | None, option("TOML file of hyperparameters; flags override it", "--config", panel="Run")
]
Overwrite = Annotated[
    bool, option("restart where a run exists, deleting it", "--overwrite", panel="Run")
]


def bind(
    command: Callable[..., None],
    config_class: type[Config],
    found: Found | None,
    losses: "Losses | None",
) -> Callable[..., None]:
    """Return `command` as Typer wants it: its parameter `flags` becomes an option per field."""
    own = inspect.signature(command).parameters
    if "flags" not in own:
        return command

    def bound(**values: Any) -> None:
        flags = {name: values.pop(name) for name in config_class.model_fields}
        given = {name: value for name, value in flags.items() if value is not None}
        assert found
        command(Flags(given, found, losses), **values)

    parameters = [
        *(p.replace(kind=p.KEYWORD_ONLY) for name, p in own.items() if name != "flags"),
        *_parameters(config_class),
    ]
    bound.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    bound.__annotations__ = {p.name: p.annotation for p in parameters}
    bound.__doc__ = command.__doc__
    return bound


def _parameters(config_class: type[Config]) -> list[inspect.Parameter]:
    """Return one option per field. Values stay strings here."""
    parameters: list[inspect.Parameter] = []
    for name, field in config_class.model_fields.items():
        text = f"{field.description or name.replace('_', ' ')} (default {show(field.default)})"
        panel = mark(config_class, name, "group")
        if field.annotation is bool:
            kind: Any = Annotated[bool | None, option(text, f"--{name}/--no_{name}", panel=panel)]
        else:
            metavar = _metavar(field.annotation)
            kind = Annotated[str | None, option(text, f"--{name}", panel=panel, metavar=metavar)]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        )
    return parameters


def _metavar(annotation: Any) -> str:
    text = str(annotation)
    if "Literal" in text:
        return text.partition("[")[2].rstrip("]").replace("'", "").replace(", ", "|")
    for part, metavar in (("tuple", "N,N,..."), ("int", "INT"), ("float", "FLOAT")):
        if part in text:
            return metavar
    return "TEXT"
