"""The command line: commands, exit codes, one-line errors. JAX is imported by commands only."""

import argparse
import itertools
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mjx_sac import __version__
from mjx_sac.algorithms import loader, owners
from mjx_sac.cli import (
    algorithms,
    bench,
    dataset,
    demo,
    doctor,
    envs,
    eval,
    export,
    hub,
    info,
    plot,
    record,
    sweep,
    train,
    watch,
)
from mjx_sac.cli.flags import Command, bind, option
from mjx_sac.config import Config, TrainingError, UsageError, nearest, renamed, surroundings
from mjx_sac.envs.host.protocol import busy
from mjx_sac.runs import resolve
from mjx_sac.training.host import console

if TYPE_CHECKING:
    from mjx_sac.losses import Losses

COMMANDS: dict[str, Command] = {
    "demo": demo.demo,
    "train": train.train,
    "sweep": sweep.sweep,
    "eval": eval.evaluate,
    "record": record.record,
    "plot": plot.plot,
    "export": export.export,
    "push": hub.push,
    "pull": hub.pull,
    "dataset": dataset.dataset,
    "info": info.info,
    "watch": watch.watch,
    "envs": envs.envs,
    "algorithms": algorithms.algorithms,
    "doctor": doctor.doctor,
    "bench": bench.bench,
}


def main(
    arguments: Sequence[str] | None = None,
    *,
    config_class: type[Config] = Config,
    losses: "Losses | None" = None,
) -> None:
    """Run the command line and exit: 0 done, 2 bad input, 3 training failed, 130 interrupted.

    A script that passes a `Config` subclass or losses is a trainer with more flags.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before an algorithm's file imports JAX
    with surroundings.own_process():
        _run(_complete(sys.argv[1:] if arguments is None else arguments), config_class, losses)


def _complete(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which the one flag that may stand alone has its value."""
    found: list[str] = []
    for this, after in itertools.zip_longest(arguments, arguments[1:], fillvalue="-"):
        alone = this.replace("-", "_") == "__domain_randomization" and after.startswith("-")
        found += [this, "default"] if alone else [this]
    return found


def _run(arguments: Sequence[str], config_class: type[Config], losses: "Losses | None") -> NoReturn:
    console.lost.clear()
    try:
        command = typer.main.get_command(make_app(arguments, config_class, losses))
        code = command.main(args=arguments, prog_name="mjx-sac", standalone_mode=False) or 0
    except (UsageError, TrainingError) as error:
        line = _refused_by_mujoco(error)
        _exit(2 if line or isinstance(error, UsageError) else 3, line or str(error))
    except Exception as error:  # the parser's own: Typer's copy of click, or click, by version
        parsing = hasattr(error, "format_message")
        refused = _refused_setting(error) or _refused_by_mujoco(error)
        line = _parser_message(error) if parsing else refused
        if line is not None:
            _exit(2, line)
        if type(error).__name__ != "Abort":  # a bug
            if _joined():  # other processes must not wait for this one
                traceback.print_exc()
                _exit(1)
            raise
        code = 130
    if code == 130:  # Ctrl-C, for which older parsers raise Abort
        _exit(code, _interrupted(arguments))
    if code == 0 and console.lost and not _trains(arguments):
        way_out = "what was to be read there is not complete"
        _exit(2, f"standard output: {console.lost['reason']}: {way_out}")
    sys.exit(code)


def make_app(
    arguments: Sequence[str] = (),
    config_class: type[Config] = Config,
    losses: "Losses | None" = None,
) -> typer.Typer:
    """Return the command line; an algorithm or a run that is named adds its flags."""
    config_class, found = _look_ahead(arguments, config_class)
    app = typer.Typer(
        name="mjx-sac",
        help="Soft actor-critic in one compiled JAX epoch.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            # --policy-lr is --policy_lr
            "token_normalize_func": lambda token: token.replace("-", "_"),
        },
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        app.command(name)(bind(command, config_class, found, losses))
    return app


def _show_version(value: bool) -> None:
    if value:
        console.print_line(f"mjx-sac {__version__}")
        raise typer.Exit


_VERSION = option("Show the version.", "--version", callback=_show_version, is_eager=True)


def _root(_version: Annotated[bool, _VERSION] = False) -> None: ...


def _look_ahead(
    arguments: Sequence[str], config_class: type[Config]
) -> tuple[type[Config], resolve.Found | None]:
    """Parse what decides which flags there are, and look at what it names."""
    if not _trains(arguments):
        return config_class, None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    which = ("env", "logdir", "algorithm", "losses")
    for name in (*which, "config"):
        parser.add_argument(f"--{name}")
    for names in (("--overwrite",), ("--fallback",), ("-h", "--help")):
        parser.add_argument(*names, action="store_true")
    try:
        named = vars(parser.parse_known_args(arguments[1:])[0])
    except argparse.ArgumentError as error:
        way_out = f"`mjx-sac {arguments[0]} --help` shows how"
        raise UsageError(f"{error.argument_name}: {error.message}: {way_out}") from None
    given = renamed({name: named[name] for name in which if named[name] is not None})
    if named["help"]:  # answers without looking at a run
        return loader.config_class(given.get("algorithm", "sac"), config_class), None
    fresh = named["overwrite"] or arguments[0] == "sweep"  # a sweep resumes no run
    found = resolve.find(given, named["config"], fresh, named["fallback"], config_class)
    return found.config_class, found


def _trains(arguments: Sequence[str]) -> bool:
    return bool({*arguments[:1]} & {"train", "sweep"})


def _refused_setting(error: Exception) -> str | None:
    """Return the line for a value of a JAX_... variable that JAX refuses when it is imported."""
    for name, value in os.environ.items():
        if name.startswith("JAX_") and name.lower() in str(error).lower():
            return f"{name} = {value!r}: {error}: unset it"
    return None


def _refused_by_mujoco(error: BaseException | None) -> str | None:
    """Return the line for a MUJOCO_GL with which nothing can import MuJoCo, if `error` comes of it.

    A backend whose library is missing fails like that, too, where nothing is to be drawn.
    """
    while error and (value := os.environ.get("MUJOCO_GL")):
        frames = traceback.walk_tb(error.__traceback__)
        if any(frame.f_globals["__name__"].endswith("gl_context") for frame, _ in frames):
            way_out = "unset it, or choose another"
            return f"MUJOCO_GL = {value!r}: MuJoCo does not start with it ({error}): {way_out}"
        error = error.__cause__
    return None


def _interrupted(arguments: Sequence[str]) -> str:
    if not _trains(arguments):
        return "interrupted"
    without = " without --overwrite" if "--overwrite" in arguments else ""
    return f"interrupted; the same command{without} resumes from the newest checkpoint"


def _joined() -> bool:
    """Return whether other processes train with this one."""
    processes = sys.modules.get("mjx_sac.training.host.processes")
    return bool(processes and processes.joined())


def _exit(code: int, message: str = "") -> NoReturn:
    """Exit at once: compiler and hub are waited for up to minutes, other processes for ever."""
    if message:
        console.print_line(f"mjx-sac: {' '.join(message.split())}", sys.stderr)
    if _joined() or busy():
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _parser_message(error: Any) -> str:
    """Return the parser's message in one line, with the nearest flag or command there is.

    Empty where there are no arguments at all: the help has been shown.
    """
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or not message:
        return message
    help_command = f"`{context.command_path} --help`"
    if type(error).__name__ == "NoSuchOption":
        given = error.option_name
        name = given.lstrip("-").replace("-", "_")
        if _trains([context.info_name]) and (others := ", ".join(owners(name))):
            return f"{given}: no flag of this algorithm, but of {others}: say --algorithm too"
        flags = context.command.get_params(context)
        known = [n[2:] for flag in flags for n in flag.opts + flag.secondary_opts if n[:2] == "--"]
        match = nearest(name, known).replace("mean ", "mean --")
        return f"{given}: no such flag{match or f'; {help_command} lists them'}"
    if unknown := re.match("No such command '(.*?)'", message):
        names = list(context.command.commands)
        match = nearest(unknown[1], names)
        return f"{unknown[1]}: no such command{match or '; there are ' + ', '.join(names)}"
    return f"{message.rstrip('.')}: {help_command} shows how"
