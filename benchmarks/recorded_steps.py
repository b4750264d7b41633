r"""Measure how far our gradient steps end from those that the authors' code took.

From the same weights, batches and noise, as the tests do it (`tests/algorithms/`): the largest
difference of a number in each part of the state.

    python benchmarks/recorded_steps.py --json benchmarks/results/recorded_steps.json
"""

import argparse
import pathlib
import re
import runpy
import sys
from typing import Any

import common

TESTS = pathlib.Path(__file__).parents[1] / "tests"


def measure(name: str) -> dict[str, Any]:
    """Return whose steps an algorithm's are held against, and the largest differences."""
    from helpers import recorded  # of the tests

    path = TESTS / "algorithms" / f"test_{name}.py"
    source = re.search(r"gradient steps of (\S+) at (\w+)", path.read_text(encoding="utf-8"))
    assert source, f"{path} does not say whose steps it has"
    own = runpy.run_path(str(path))
    arrays, theirs, static = own["THEIRS"], own["their_array"], own["STATIC"]
    start = own["beginning"]() if "beginning" in own else recorded.beginning(theirs, **static)
    state, measured = recorded.replayed(start, arrays, **static)
    found = recorded.differences(state, arrays, theirs)
    everywhere = {
        "/".join((field, *path)): x for field in found for path, x in found[field].items()
    }
    largest = max(everywhere, key=lambda where: everywhere[where])
    return {
        "code": source[1],
        "commit": source[2],
        "steps": len(measured),
        "largest_difference": everywhere[largest],
        "where": largest,
        "of_each_part": {field: max(by_path.values()) for field, by_path in found.items()},
    }


def main() -> None:
    """Measure all that were recorded, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    sys.path.append(str(TESTS))
    names = sorted(path.stem for path in (TESTS / "algorithms" / "recorded").glob("*.npz"))
    found = {name: measure(name) for name in names}
    common.write({"benchmark": "recorded_steps", "algorithms": found}, args.json)


if __name__ == "__main__":
    main()
