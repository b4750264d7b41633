"""Hyperparameters in TOML files: a top level for all algorithms, and tables for one each."""

import fnmatch
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mjx_sac.algorithms import PACKAGED, loader, own_fields, owners
from mjx_sac.config import Config, UsageError, layered, nearest

FOR = "environments"
"""The key of packaged files that lists whom they are for."""

RUN = ("env", "logdir", "algorithm")
"""Fields that say which run it is: never in a table."""


def packaged(env: str, algorithm: str, config_class: type[Config]) -> dict[str, Any]:
    """Return what the file in `configs/` that is for this environment says for an algorithm.

    It is named after the environment or lists it in `environments`, as names in which `*` is
    anything. Where several do, the one whose name leaves least to `*` counts. They are in the wheel
    where installed, else at the repository's top.
    """
    package = Path(__file__).parents[1]
    fitting: list[tuple[int, Path]] = []
    for path in (*package.glob("configs/*.toml"), *package.parent.glob("configs/*.toml")):
        for name in read(path).get(FOR, [path.stem]):
            if fnmatch.fnmatchcase(env, name):
                fitting.append((len(name.replace("*", "")), path))
    if not fitting:
        return {}
    path = max(fitting)[1]
    return select(read(path), str(path), algorithm, config_class)


def read(path: Path) -> dict[str, Any]:
    """Return what is in a TOML file, or raise UsageError with the line where it is malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not a text file"
    except tomllib.TOMLDecodeError as error:
        last = f"at the end, line {len(path.read_text(encoding='utf-8').splitlines())}"
        reason = str(error).replace("at end of document", last)
    raise UsageError(f"config = {str(path)!r}: {reason}")


def select(
    values: dict[str, Any], path: str, algorithm: str, config_class: type[Config]
) -> dict[str, Any]:
    """Return what a file says for an algorithm: its top level, and over that the table of its name.

    Raises:
      UsageError: a key is no hyperparameter, in the tables of other packaged algorithms too.
    """
    fields, own = config_class.model_fields, loader.table(algorithm)
    tables = {k: x for k, x in values.items() if isinstance(x, dict) and k not in fields}
    top = {k: x for k, x in values.items() if k not in tables and k != FOR}
    _check_names(top, f"config = {path!r}", fields)
    for name, table in tables.items():
        where = f"config = {path!r}: [{name}]"
        for key in set(RUN) & table.keys():
            raise UsageError(f"{where}: {key}: decides which run it is: move it above all tables")
        if name == own:
            _check_names(table, where, fields)
        elif name in PACKAGED:
            _check_names(table, where, {*Config.model_fields, *own_fields(name)})
        elif own not in tables and algorithm != "sac" and (hint := nearest(name, [own])):
            raise UsageError(f"{where}: no such algorithm{hint}")
    return layered(top, tables.get(own, {}))


def _check_names(values: dict[str, Any], where: str, fields: Iterable[str]) -> None:
    known = list(fields)
    for name in values:
        if name not in known and (others := owners(name)):
            problem = f"no hyperparameter of the algorithm, but of {', '.join(others)}"
            raise UsageError(f"{where}: {name}: {problem}: put it under [{others[0]}]")
        if name not in known:
            raise UsageError(f"{where}: {name}: no such hyperparameter{nearest(name, known)}")
