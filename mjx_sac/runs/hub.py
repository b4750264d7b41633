"""Runs on the Hugging Face Hub: `hub:user/name` names one wherever a run's directory may be named.

A run is a model there, of the files that its directory has: JSON, and arrays in files that are
verified by their SHA-256. No pickle; and what a run says to execute is never executed unasked.
"""

import contextlib
import fnmatch
import re
import shutil
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import UsageError, absolute, require
from mjx_sac.runs import array_store, provenance
from mjx_sac.runs.directory import steps

PREFIX = "hub:"
"""What the name of a run on the hub begins with."""

CARD, CURVE = "README.md", "curve.png"
_STATE = "checkpoints/*/state/*"
_POLICY = ("checkpoints/*/policy/*", "best/policy/*", "*kwargs.json", "*events.out.tfevents.*")
_OURS = (_STATE, *_POLICY, CARD, CURVE)


def local(run: str | Path, *, state: bool = False) -> Path:
    """Return a run's directory as it is; of one on the hub, where its copy lies.

    Args:
      run: a directory, or `hub:user/name`, whose copy is brought up to date; without a connection
        it is as it was found last.
      state: also all else that its checkpoints hold, if it was pushed with that.

    Raises:
      UsageError: there is no such run on the hub, or it names code to execute.
    """
    name = str(run)
    if not name.startswith(PREFIX):
        return Path(run)
    return _download(name.removeprefix(PREFIX), f"run = {name!r}", state)


def pull(name: str, target: Path, *, trust_code: bool = False) -> None:
    """Copy all that there is of a run on the hub to the directory `target`, or nothing.

    Raises:
      UsageError: see `local`, though with `trust_code` it may name code; or `target` is there
        already, or cannot be written.
    """
    target = absolute(target)
    if target.exists():
        raise UsageError(f"dir = {str(target)!r}: is there already: choose another")
    found = _download(name, f"name = {name!r}", state=True, trust_code=trust_code)
    new = target.with_name(f".{target.name}.pulling")
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        shutil.copytree(found, new)
        new.rename(target)
    except OSError as error:
        raise UsageError(f"dir = {str(target)!r}: {error.strerror}: choose another") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def push(name: str, files: Mapping[str, Path | bytes], message: str, private: bool | None) -> str:
    """Make a run's files, by their paths in its directory, those of a model in one commit.

    Returns:
      Where it can be looked at.

    Raises:
      UsageError: nobody is logged in, or may not write there, or the model there is no run.
    """
    with _library(name, where := f"name = {name!r}") as hub:
        if hub.get_token() is None:
            raise UsageError(f"{where}: not logged in: `hf auth login`, or set HF_TOKEN")
        api = hub.HfApi()
        try:
            there = {x.rfilename for x in api.model_info(name).siblings} - {".gitattributes"}
        except hub.errors.RepositoryNotFoundError:
            api.create_repo(name, private=private)
            there = set[str]()
        if there and not fnmatch.filter(there, _POLICY[0]):
            raise UsageError(f"{where}: holds {min(there)}, and is no run: choose another name")
        old = {path for pattern in _OURS for path in fnmatch.filter(there, pattern)}
        changes = [hub.CommitOperationAdd(*file) for file in files.items()]
        changes += [hub.CommitOperationDelete(path) for path in sorted(old - files.keys())]
        api.create_commit(name, changes, commit_message=message)
        return f"{api.endpoint}/{name}"


def _download(name: str, where: str, state: bool, trust_code: bool = False) -> Path:
    """Return a directory of the library's, in which nothing may be changed."""
    with _library(name, where) as hub:
        wanted = [pattern for pattern in _OURS if state or pattern != _STATE]
        found = Path(hub.snapshot_download(name, allow_patterns=wanted))
    if not steps(found):
        raise UsageError(f"{where}: this model is no run: `mjx-sac push` makes such")
    if not trust_code:
        _check_code(found, name, where)
    return found


def _check_code(found: Path, name: str, where: str) -> None:
    """Raise UsageError where a run says what to execute: a file, a module, a function."""
    for path in found.rglob("manifest.json"):
        try:
            config = provenance.current(array_store.manifest(path.parent))["config"]
            code = [k for k in ("env", "domain_randomization") if ":" in str(config.get(k))]
            code += ["algorithm"] if config.get("algorithm", "sac") not in PACKAGED else []
        except (array_store.DamagedError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}: {path.relative_to(found)}: damaged: {error}") from None
        for k in code:
            problem = f"would execute what it names here as {k}, {config[k]!r}"
            way_out = f"if you trust it, `mjx-sac pull {name} --trust_code` and use that"
            raise UsageError(f"{where}: {problem}: {way_out}")


@contextlib.contextmanager
def _library(name: str, where: str) -> Generator[Any]:
    """Yield `huggingface_hub`; whatever it raises becomes one line that begins with `where`."""
    require(["huggingface_hub"], "hub", where)
    if not re.fullmatch(r"[^\s/]+/[^\s/]+", name):
        raise UsageError(f"{where}: no name of a run: write user/name")
    import huggingface_hub as hub
    from huggingface_hub import errors, utils

    utils.logging.set_verbosity_error()  # it says what it tries again, and what it raises
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        yield hub
    except UsageError:
        raise
    except errors.RepositoryNotFoundError:
        problem = "no such model, or a private one"
        raise UsageError(f"{where}: {problem}: check the name, or `hf auth login`") from None
    except Exception as error:  # its own, those of two HTTP libraries, and of its threads
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        way_out = "check the name, the connection and `hf auth whoami`"
        raise UsageError(f"{where}: {reason}: {way_out}") from error
