"""What every benchmark writes beside its figures: command, device, versions and commit."""

import argparse
import json
import pathlib
from typing import Any

from mjx_sac.runs import provenance


def write(result: dict[str, Any], path: pathlib.Path | None) -> None:
    """Print the result as JSON and, with a path, write it there."""
    text = json.dumps({**result, "measured_with": provenance.measured_with()}, indent=1)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def in_turns(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments of a benchmark whose runs take turns: also --repeats and --json."""
    parser.add_argument("--repeats", type=int, default=7, help="turns, at least seven")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if args.repeats < 7:
        parser.error(f"--repeats {args.repeats}: a spread needs seven turns: raise it")
    return args
