"""How many kernels a program starts on a GPU: read off XLA's optimised program, which is there without a GPU too.

A launch is an instruction that starts a kernel, a copy or a library's routine; a fusion counts once, a loop's body as often as it
turns. On a small learner it is launches, at two or three microseconds each, that take the time.
"""

import collections
import re
from typing import NamedTuple

# Instructions that start nothing.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "opt-barrier", "iota"}
_CALLED = {
    "while": r"body=%?([\w.\-]+)",
    "conditional": r"(?:branch_computations=\{|(?:true|false)_computation=)([^,}]+(?:, %[^,}]+)*)",
    "call": r"to_apply=%?([\w.\-]+)",
}


class Loop(NamedTuple):
    """A loop of the program: where it comes from, how often it turns (None: the GPU asks the host), launches of one turn."""

    name: str
    trips: int | None
    launches: int


class Count(NamedTuple):
    """Launches of a computation and the loops in it, outermost first."""

    launches: int
    loops: tuple[Loop, ...]


def count(hlo: str) -> Count:
    """Counts the launches of an optimised program, given as text."""
    return _count(*parse(hlo))


def parse(hlo: str) -> tuple[dict[str, list[str]], str]:
    """The instructions of every computation of a program, and the name of the one that it begins with."""
    computations: dict[str, list[str]] = collections.defaultdict(list)
    name = entry = ""
    for line in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{\s*$", line):
            name = head[2]
            entry = name if head[1] else entry
        elif " = " in line:
            computations[name].append(line)
    return computations, entry


def _count(computations: dict[str, list[str]], name: str) -> Count:
    launches, loops = 0, []
    for line in computations[name]:
        opcode, _ = instruction(line)
        if opcode in _FREE:
            continue
        if opcode not in _CALLED:
            launches += 1
            continue
        inner = [_count(computations, each) for each in called(opcode, line)]
        most = max(inner)  # of a conditional's branches
        if opcode == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            where = re.search(r'op_name="([^"]*)"', line)
            loops.append(Loop(where[1] if where else "", int(trips[1]) if trips else None, most.launches))
            launches += most.launches * (loops[-1].trips or 1)
        else:
            launches += most.launches
        loops += [loop for each in inner for loop in each.loops]
    return Count(launches, tuple(loops))


def called(opcode: str, line: str) -> list[str]:
    """The computations that an instruction runs."""
    found: list[str] = re.findall(_CALLED[opcode], line) if opcode in _CALLED else []
    return [name.lstrip("%") for each in found for name in each.split(", ")]


def instruction(line: str) -> tuple[str, str]:
    """Opcode and type of `%name = type opcode(operands), ...`; a tuple's type has parentheses, and comments, of its own."""
    right = line.split(" = ", 1)[1]
    depth = 0
    for end, character in enumerate(right):
        depth += (character == "(") - (character == ")")
        if character == " " and not depth:  # the type is over
            return right[end + 1 :].partition("(")[0], right[:end]
    return "", right
