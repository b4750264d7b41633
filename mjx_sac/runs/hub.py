"""Runs on the Hugging Face Hub: `hub:user/name`, wherever a run's directory may be named.

A run is a model there, of the files that its directory has: JSON, and arrays in files that are
verified by their SHA-256. No pickle; and what a run says to execute is not executed unasked.
"""

import contextlib
import fnmatch
import re
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import Any

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import UsageError, absolute, require, surroundings
from mjx_sac.envs.host.protocol import in_background
from mjx_sac.runs import array_store, provenance
from mjx_sac.runs.directory import steps

PREFIX = "hub:"
CARD, CURVE = "README.md", "curve.png"

_STATE, _POLICY = "checkpoints/*/state/*", "checkpoints/*/policy/*"
_ELSE = ("best/policy/*", "*kwargs.json", "*events.out.tfevents.*", CARD, CURVE)


def local(run: str | Path, *, state: bool = False) -> Path:
    """Return a run's directory as it is; of `hub:user/name` where its copy lies, brought up to date
    if there is a connection.

    With `state` all that is there of its checkpoints, else their policies alone.

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
      UsageError: see `local`, though with `trust_code` it may name code; or `target` is there.
    """
    target = absolute(target)
    if target.exists():
        raise UsageError(f"dir = {str(target)!r}: is there already: choose another")
    new = target.with_name(f".{target.name}.pulling")
    found = _download(name, f"name = {name!r}", True, trust_code)
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        shutil.copytree(found, new)
        new.rename(target)
    except OSError as error:
        raise UsageError(f"dir = {str(target)!r}: {error}: choose another") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def upload(name: str, files: Mapping[str, Path | bytes], message: str, private: bool) -> str:
    """Make a run's files, by their paths in its directory, those of a model, in one commit.

    Returns where to look at it. A model that is new is `private`, or as the user's usually are.

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
            api.create_repo(name, private=private or None)
            there = set[str]()
        if there and not fnmatch.filter(there, _POLICY):
            raise UsageError(f"{where}: holds {min(there)}, and is no run: choose another name")
        ours = {x for one in (_STATE, _POLICY, *_ELSE) for x in fnmatch.filter(there, one)}
        changes = [hub.CommitOperationDelete(path) for path in sorted(ours - files.keys())]
        changes += [hub.CommitOperationAdd(*file) for file in files.items()]
        _transfer(api.create_commit, name, changes, commit_message=message)
        return f"{api.endpoint}/{name}"


def _download(name: str, where: str, state: bool, trust_code: bool = False) -> Path:
    """Return a directory of the library's, in which nothing may be changed."""
    with _library(name, where) as hub:
        wanted = [_POLICY, *_ELSE, *([_STATE] if state else [])]
        found = Path(_transfer(hub.snapshot_download, name, allow_patterns=wanted))
    if not steps(found):
        raise UsageError(f"{where}: this model is no run: `mjx-sac push` makes such")
    for path in () if trust_code else found.rglob("manifest.json"):
        try:
            config = provenance.current(array_store.manifest(path.parent))["config"]
            named = [k for k in ("env", "domain_randomization") if ":" in str(config.get(k))]
            named += ["algorithm"] if config.get("algorithm", "sac") not in PACKAGED else []
        except (array_store.DamagedError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}: {path.relative_to(found)}: damaged: {error}") from None
        if named:  # a file, a module, a function
            problem = f"would execute what it names here as {named[0]}, {config[named[0]]!r}"
            way_out = f"if you trust it, `mjx-sac pull {name} --trust_code` and use that"
            raise UsageError(f"{where}: {problem}: {way_out}")
    return found


def _transfer(function: Callable[..., Any], *args: Any, **how: Any) -> Any:
    """Call the library in a thread: it waits for files under way, an interrupt need not."""
    future = in_background(partial(function, *args, **how))
    while not future.done():  # a signal that another thread is given does not end a wait
        wait([future], timeout=0.1)
    return future.result()


@contextlib.contextmanager
def _library(name: str, where: str) -> Generator[Any]:
    """Yield `huggingface_hub`; whatever it raises becomes one line that begins with `where`."""
    require(["huggingface_hub"], "hub", where)
    if not re.fullmatch(r"[^\s/]+/[^\s/]+", name):
        raise UsageError(f"{where}: no name of a run: write user/name")
    import huggingface_hub as hub
    from huggingface_hub import errors, utils

    if surroundings.own():
        utils.logging.set_verbosity_error()  # it says what it tries again, and what it raises
        if not sys.stderr.isatty():
            utils.disable_progress_bars()
    try:
        yield hub
    except UsageError:
        raise
    except errors.RepositoryNotFoundError:
        way_out = "check the name, or `hf auth login`"
        raise UsageError(f"{where}: no such model, or a private one: {way_out}") from None
    except Exception as error:  # its own, those of two HTTP libraries, and of its threads
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        way_out = "check the name, the connection and `hf auth whoami`"
        raise UsageError(f"{where}: {reason}: {way_out}") from error
