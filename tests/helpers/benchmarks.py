"""The scripts of `benchmarks/`, as modules."""

import importlib
import pathlib
import sys
from types import ModuleType

DIRECTORY = pathlib.Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """Return a script, which imports others of its directory by their bare names."""
    if str(DIRECTORY) not in sys.path:
        sys.path.append(str(DIRECTORY))
    return importlib.import_module(name)
