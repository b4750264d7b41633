"""`mjx-sac doctor`: is everything here that runs need?"""

import json
from typing import Annotated, Any

import typer

from mjx_sac.training.host.console import print_line


def doctor(as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False) -> None:
    """Say what this machine has and what is wrong with it.

    Each problem is a line with its cure, and makes the exit code 2.

    Example: mjx-sac doctor
    """
    from mjx_sac.cli import doctor_facts as doctors

    found = doctors.facts()
    problems, notes = doctors.problems(found), doctors.notes(found)
    if as_json:
        print_line(json.dumps({**found, "problems": problems, "notes": notes}, indent=1))
    else:
        for name, text in _shown(found).items():
            print_line(f"{name:18}{text}")
        for kind, lines in (("note", notes), ("problem", problems)):
            for line in lines:
                print_line(f"{kind}: {line}")
        if not problems:
            print_line("no problems")
    if problems:
        raise typer.Exit(2)


def _shown(found: dict[str, Any]) -> dict[str, str]:
    from mjx_sac.training.host.memory import show

    free, cache = found["memory_free"], found["cache"]
    writable = "" if cache["writable"] else ", not writable"
    return {
        "versions": ", ".join(
            f"{name} {version or '(none)'}" for name, version in found["versions"].items()
        ),
        "devices": ", ".join(found["devices"]) or "(none)",
        "OpenGL": ", ".join(
            f"{name} {'does not work: ' + reason if reason else 'works'}"
            for name, reason in found["gl"].items()
        ),
        "compilation cache": f"{cache['directory']}, {show(cache['bytes'])}{writable}",
        "free": f"{'?' if free is None else show(free)} of memory, {show(found['disk_free'])} of disk here",
    }
