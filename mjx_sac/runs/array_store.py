"""Arrays by name in a directory: a manifest, and the bytes in files named by their SHA-256.

    manifest.json   a09f3c...   7be1d2...

No JAX, no pickle. Small arrays share one file. A large one is cut along its first axis
into pieces of a mebibyte; a piece of zeros, such as the part of a replay buffer that is not filled
yet, needs no file. A file that an older snapshot has too is linked instead of written: for a ring
buffer that is all but what was collected since. Yet every snapshot is complete, and can be deleted
or copied by itself.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # registers bfloat16 and the like with NumPy
import numpy as np

SCHEMA = 1
"""Increases when older versions cannot read what is written."""

_PIECE = 2**20
_MANIFEST = "manifest.json"
assert ml_dtypes


class DamagedError(Exception):
    """A snapshot is not what was written: the message says which file and why."""


def write(
    directory: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], older: Path | None
) -> tuple[int, int]:
    """Write `arrays` and the JSON `header`, linking files that the store `older` has too.

    Return bytes: of all files, and of those that were not linked. After an OSError `directory` must
    be thrown away.
    """
    directory.mkdir(parents=True, exist_ok=True)
    total = new = 0

    def store(data: bytes) -> str:
        nonlocal total, new
        name = hashlib.sha256(data).hexdigest()
        if not (directory / name).exists():
            total += len(data)
            if not _link(older, directory, name):
                new += len(data)
                _write(directory / name, data)
        return name

    leaves: dict[str, dict[str, Any]] = {}
    packed = bytearray()
    for name, array in arrays.items():
        leaf = leaves[name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        if array.nbytes <= _PIECE:
            leaf["offset"] = len(packed)
            packed += array.tobytes()
        else:
            leaf["rows"] = max(1, _PIECE * len(array) // array.nbytes)
            leaf["pieces"] = [
                store(piece.tobytes()) if piece.view(np.uint8).any() else None
                for piece in _pieces(array, leaf["rows"])
            ]
    body = {"schema": SCHEMA, **header, "leaves": leaves, "packed": store(bytes(packed))}
    text = json.dumps({**body, "sha256": _digest(body)}, indent=1)
    _write(directory / _MANIFEST, text.encode())
    sync(directory)
    return total, new


def finite(values: Iterable[float]) -> list[float | None]:
    """Return numbers as a header has them: None where they are not finite, which JSON has not."""
    return [float(x) if np.isfinite(x) else None for x in values]


def replace(new: Path, target: Path) -> None:
    """Move a snapshot to where an older one lies; at every moment there is a whole one.

    Files of the older one stay until the next comes: a process may just be reading them.
    """
    target.mkdir(exist_ok=True)
    kept = {_MANIFEST, *_files(manifest(new))}
    with contextlib.suppress(DamagedError):
        kept |= _files(manifest(target))
    for path in sorted(new.iterdir(), key=lambda path: path.name == _MANIFEST):  # it comes last
        path.replace(target / path.name)
    new.rmdir()
    for path in target.iterdir():
        if path.name not in kept:
            path.unlink()
    sync(target)
    sync(target.parent)


def manifest(directory: Path) -> dict[str, Any]:
    """Return the keys of the header that was written, and "leaves": dtype and shape by name.

    Raises:
      DamagedError: it is missing or was changed, or a newer version wrote it.
    """
    path = directory / _MANIFEST
    try:
        body = json.loads(path.read_bytes())
        digest = body.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedError(f"{path} cannot be read ({type(error).__name__})") from None
    if (schema := body.get("schema", 0)) > SCHEMA:
        reads = f"this version reads up to {SCHEMA}"
        raise DamagedError(f"{path} has schema {schema}, {reads}: upgrade mjx-sac")
    if digest != _digest(body):
        raise DamagedError(f"{path} has been changed: its SHA-256 differs")
    return body


def verify(directory: Path) -> dict[str, Any]:
    """Read every file and return the manifest, or raise DamagedError for the first changed one."""
    body = manifest(directory)
    for name in sorted(_files(body)):
        _load(directory / name)
    return body


def _files(body: Mapping[str, Any]) -> set[str]:
    pieces = (name for leaf in body["leaves"].values() for name in leaf.get("pieces", ()))
    return {body["packed"], *filter(None, pieces)}


def read(directory: Path, body: dict[str, Any] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and arrays, or raise as `verify`; `body` is the manifest where it is known."""
    body = body or manifest(directory)
    packed = _load(directory / body["packed"])
    for name, leaf in body["leaves"].items():
        dtype, shape = leaf["dtype"], leaf["shape"]
        if "offset" in leaf:
            yield name, np.ndarray(shape, dtype, packed, leaf["offset"])
            continue
        array = np.zeros(shape, dtype)
        for piece, file in zip(_pieces(array, leaf["rows"]), leaf["pieces"], strict=True):
            if file:
                piece[...] = np.ndarray(piece.shape, dtype, _load(directory / file))
        yield name, array


def _pieces(array: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (array[i : i + rows] for i in range(0, len(array), rows))


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _link(older: Path | None, directory: Path, name: str) -> bool:
    """Return whether `name` could be linked: not if `older` lacks it or is just being deleted."""
    with contextlib.suppress(OSError):  # or the file system has no links
        if older:
            os.link(older / name, directory / name)
            return True
    return False


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # on the disk before the checkpoint becomes visible


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk, where its file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _load(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != path.name:
        raise DamagedError(f"{path} has been changed: its SHA-256 differs")
    return data
