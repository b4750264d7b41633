"""The command line. Flags are made from `Config`: a field added there is a flag here. JAX is imported by commands only."""

import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mjx_sac import __version__, algorithm, commands, rundir
from mjx_sac.config import Config, TrainingError, UsageError, nearest
from mjx_sac.console import say
from mjx_sac.flags import ConfigFile, Flags, Overwrite, bind

if TYPE_CHECKING:
    from mjx_sac.losses import Losses


def make_app(config_class: type[Config] = Config, losses: "Losses | None" = None) -> typer.Typer:
    """The command line for a `Config` (or a subclass with more fields, which get flags too) and losses of your own."""
    app = typer.Typer(
        name="mjx-sac",
        help="Soft actor-critic in one compiled JAX epoch.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": lambda token: token.replace("-", "_"),  # --policy-lr is --policy_lr
        },
    )

    def version(value: bool) -> None:
        if value:
            print(f"mjx-sac {__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        _version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
    ) -> None: ...

    for name, command in {"train": train, **commands.ALL}.items():
        app.command(name)(bind(command, config_class, losses, _interrupted))
    assert root
    return app


def train(
    flags: Flags,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback",
            help="go on from an older checkpoint where the newest is damaged",
            rich_help_panel="Run",
            show_default=False,
        ),
    ] = False,
) -> None:
    """Train, or go on training where a run exists.

    Example: mjx-sac train --env ant --iterations 1_000_000 --logdir runs/ant
    """
    how: dict[str, Any] = {"overwrite": overwrite, "fallback": fallback}
    resolved = rundir.resolve(flags.given, config_file=config, **how, config_class=flags.config_class)
    run = rundir.attach(resolved, **how)
    if run.latest is not None and run.latest >= resolved.iterations:
        print(
            f"{run.directory} is finished: {run.latest:,} of {resolved.iterations:,} iterations are done. A larger --iterations "
            f"goes on; --overwrite starts anew."
        )
        return
    if not resolved.process_id:  # of several one speaks
        say(f"training {resolved.env} for {resolved.iterations:,} iterations into {run.directory}")
    from mjx_sac import api

    api.train(resolved, losses=None if resolved.losses else flags.losses, **how)


def _interrupted(overwrite: bool) -> None:
    again = "the same command without --overwrite" if overwrite else "the same command"
    _complain(f"interrupted; {again} goes on from the newest checkpoint", 130)
    _exit(130)


def _exit(code: int) -> None:
    """Leaves at once, where waiting for the compiler could take most of a minute, and waiting for other processes for ever."""
    compilation, processes = (sys.modules.get(f"mjx_sac.{name}") for name in ("compilation", "processes"))
    if (compilation and compilation.busy()) or (processes and processes.joined()):
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _raise(error: Exception) -> NoReturn:
    """Shows a mistake of ours or of a user's code; to other processes it must not look like a long wait."""
    processes = sys.modules.get("mjx_sac.processes")
    if processes and processes.joined():
        traceback.print_exc()
        _exit(1)
    raise error


def _complain(message: str, code: int) -> int:
    print(f"mjx-sac: {' '.join(message.split())}", file=sys.stderr)
    return code


def main(arguments: Sequence[str] | None = None, *, config_class: type[Config] = Config, losses: "Losses | None" = None) -> None:
    """Runs the command line and exits: 0 done, 2 bad input, 3 training or an environment failed, 130 interrupted.

    A script of your own may pass a `Config` subclass or losses and is then a trainer with flags.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before a losses file imports JAX
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        config_class = _class_for(arguments, config_class)
        command = typer.main.get_command(make_app(config_class, losses))
        code = command.main(args=arguments, prog_name="mjx-sac", standalone_mode=False) or 0
        sys.exit(_complain("interrupted", 130) if code == 130 else code)  # so a newer parser returns from Ctrl-C
    except UsageError as error:
        _exit(_complain(str(error), 2))
    except TrainingError as error:
        _exit(_complain(str(error), 3))
    except Exception as error:  # the parser's own errors: Typer's copy of click, or click itself, by version
        if type(error).__name__ == "Abort":  # and an older one
            sys.exit(_complain("interrupted", 130))
        if not hasattr(error, "format_message"):
            _raise(error)
        message = _explain(error)
        sys.exit(_complain(message, 2) if message else 2)  # empty: no arguments at all, and the help has been shown


def _class_for(arguments: Sequence[str], config_class: type[Config]) -> type[Config]:
    """Whose fields the flags are: a losses file's, where the flags or the run to go on with name one. Found by a glance at
    the arguments, as they can be parsed only then.
    """
    if not {*arguments[:1]} & {"train", "sweep"}:
        return config_class
    flags: dict[str, Any] = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            flags[name.replace("-", "_")] = value if equals else following
    if {"-h", "--help"} & {*arguments}:  # answers without reading a run
        return algorithm.config_class(flags.get("losses"), config_class)
    fresh = "overwrite" in flags or arguments[0] == "sweep"  # which goes on from no run
    given = {name: flags[name] for name in ("env", "logdir", "losses") if name in flags}
    return rundir.config_class_for(given, flags.get("config"), fresh, "fallback" in flags, config_class)


def _explain(error: Any) -> str:
    """The parser's message in one line, with the nearest flag or command of those that there are."""
    message = error.format_message().replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    if context is None or not message:
        return message
    help_command = f"`{context.command_path} --help`"
    if type(error).__name__ == "NoSuchOption":
        option = error.option_name
        known = [name.lstrip("-") for flag in context.command.get_params(context) for name in (*flag.opts, *flag.secondary_opts)]
        match = nearest(option.lstrip("-").replace("-", "_"), known).replace("mean ", "mean --")
        return f"{option}: no such flag{match or f'; {help_command} lists them'}"
    if unknown := re.match("No such command '(.*?)'", message):
        names = list(context.command.commands)
        return f"{unknown[1]}: no such command{nearest(unknown[1], names) or '; there are ' + ', '.join(names)}"
    return f"{message.rstrip('.')}: {help_command} shows how"
