"""Train, evaluate, export and predict on environments drawn at random, many of them odd.

    python benchmarks/fuzz.py --count 500 --json benchmarks/results/fuzz.json

Each must work, or end in one line with a documented exit code: `tests/helpers/fuzz.py` describes
them, and a test plays a few. A file that is there is added to: cases in it that were right are not
played again. `--seed 0 --only 231` repeats a case and prints it.
"""

import argparse
import collections
import json
import pathlib
import sys
from typing import Any

import common

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests"))

from helpers import fuzz, fuzz_driver

KEPT, SEPARATOR = ("kind", "fault", "ended"), " | "


def describe(case: fuzz.Case, outcome: fuzz_driver.Outcome) -> dict[str, Any]:
    """Return what is kept of a case: what it was, how each command ended, what was wrong."""
    ended = ", ".join(f"{command} {code}" for command, code in outcome.codes.items())
    kept = {"kind": case.kind, "fault": fault(case), "ended": ended}
    wrong = {"violations": outcome.violations, "case": case._asdict(), "line": outcome.line}
    return {**kept, **wrong} if outcome.violations else kept


def fault(case: fuzz.Case) -> str:
    """Return what is odd about a case."""
    for which, unsupported in fuzz.SPACES.items():
        if getattr(case, which)["kind"] in unsupported:
            return f"{which}: {getattr(case, which)['kind']}"
    return case.fault or "none"


def summary(seed: int, cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return counts of outcomes, in all and by fault, and every violation."""

    def count(field: str) -> dict[str, Any]:
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for case in cases.values():
            counts[case[field]][case["ended"].rpartition(", ")[2]] += 1
        return {name: dict(counts[name].most_common()) for name in sorted(counts)}

    ends = collections.Counter(case["ended"].rpartition(", ")[2] for case in cases.values())
    return {
        "benchmark": "fuzz",
        "seed": seed,
        "count": len(cases),
        "violations": {index: case for index, case in cases.items() if "violations" in case},
        "ends": dict(ends.most_common()),
        "ends_by_kind": count("kind"),
        "ends_by_fault": count("fault"),
        "cases": {index: SEPARATOR.join([case[x] for x in KEPT]) for index, case in cases.items()},
    }


def stored(path: pathlib.Path | None, seed: int) -> dict[str, dict[str, Any]]:
    """Return the cases in a file."""
    if not path or not path.exists():
        return {}
    result = json.loads(path.read_text())
    if result["seed"] != seed:
        sys.exit(f"{path} holds seed {result['seed']}: choose another --json")
    parts = {index: text.split(SEPARATOR) for index, text in result["cases"].items()}
    cases = {index: dict(zip(KEPT, part, strict=True)) for index, part in parts.items()}
    return {**cases, **result["violations"]}


def main() -> None:
    """Play cases, print each that is not right, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--only", type=int, nargs="+", help="indices, instead of the two above")
    parser.add_argument("--jobs", type=int, default=2, help="cases played at once")
    parser.add_argument("--cheap", action="store_true", help="without SAC's losses: faster")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    cases = stored(args.json, args.seed)
    done = [] if args.only else [index for index, case in cases.items() if "violations" not in case]
    indices = args.only or range(args.first, args.first + args.count)
    todo = [fuzz.draw(args.seed, index) for index in indices if str(index) not in done]
    try:
        for case, outcome in fuzz_driver.play(todo, args.jobs, real=not args.cheap):
            cases[str(case.index)] = described = describe(case, outcome)
            if args.only or outcome.violations:
                print(case.index, json.dumps({**described, "case": case._asdict()}), flush=True)
                print(f"    {outcome.line}", flush=True)
    finally:  # also of an interrupted run
        if args.json or not args.only:
            ordered = {index: cases[index] for index in sorted(cases, key=int)}
            common.write(summary(args.seed, ordered), args.json)
    if any("violations" in case for case in cases.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
