"""What an optimised XLA program will do, read off its text: kernels launched, bytes exchanged.

A launch is an instruction that starts a kernel, a copy or a library's routine; a fusion counts
once, a loop's body as often as it turns. On a GPU a small learner is bound by launches, at two or
three microseconds each. The text is there without a GPU too.
"""

import collections
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from mjx_sac.training.compiled.updates import UPDATES_PER_TURN

# Instructions that launch nothing.
_FREE = {
    "parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "opt-barrier",
    "iota",
}  # fmt: skip
_CALLED = {
    "while": r"body=%?([\w.\-]+)",
    "conditional": (
        r"(?:branch_computations=\{|(?:true|false)_computation=)([^,}]+(?:, %[^,}]+)*)"
    ),
    "call": r"to_apply=%?([\w.\-]+)",
}
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

Computations = dict[str, list[str]]
"""The instructions of a program, by the name of the computation they belong to."""


class Loop(NamedTuple):
    """A loop of a program.

    Attributes:
      name: where in the Python it comes from.
      trips: how often it turns; None where the GPU has to ask the host.
      launches: of one turn.
    """

    name: str
    trips: int | None
    launches: int


class Launches(NamedTuple):
    """Launches of a computation and the loops in it, outermost first."""

    launches: int
    loops: tuple[Loop, ...]


class Exchange(NamedTuple):
    """A collective operation between all devices.

    Attributes:
      kind: such as "all-reduce".
      bytes: of the whole array: the result of a sum or a gather, the operand of a scatter.
      depth: loops around it. In an epoch, 0 happens once, 1 in every vector step, 2 in every
        `UPDATES_PER_TURN` gradient steps. (XLA inlines a loop of a single turn: with so few
        gradient steps per vector step they are at depth 1.)
    """

    kind: str
    bytes: int
    depth: int


def count_launches(hlo: str) -> Launches:
    """Count the launches of an optimised program, given as text."""
    return _launches(*_parse(hlo))


def count_exchanges(hlo: str) -> list[Exchange]:
    """List the exchanges of an optimised program, given as text."""
    return _exchanges(*_parse(hlo), depth=0)


def describe_exchanges(exchanges: Sequence[Exchange]) -> str:
    """Return number and bytes per vector step and per gradient step, in a line."""
    parts: list[str] = []
    for depth, of, turn in ((1, "vector step", 1), (2, "gradient step", UPDATES_PER_TURN)):
        sizes = [each.bytes for each in exchanges if each.depth == depth]
        if sizes:
            count, total = len(sizes) / turn, sum(sizes) // turn
            parts.append(f"{count:g} exchanges of {total:,} bytes in all per {of}")
    return ", ".join(parts) or "no exchange but of metrics, once per epoch"


def _parse(hlo: str) -> tuple[Computations, str]:
    """Return all computations of a program and the name of the one it begins with."""
    computations: Computations = collections.defaultdict(list)
    name = entry = ""
    for line in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{\s*$", line):
            name = head[2]
            entry = name if head[1] else entry
        elif " = " in line:
            computations[name].append(line)
    return computations, entry


def _launches(computations: Computations, name: str) -> Launches:
    launches, loops = 0, []
    for line in computations[name]:
        opcode, _ = _instruction(line)
        if opcode in _FREE:
            continue
        if opcode not in _CALLED:
            launches += 1
            continue
        inner = [_launches(computations, each) for each in _called(opcode, line)]
        most = max(inner)  # of a conditional's branches
        if opcode == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            where = re.search(r'op_name="([^"]*)"', line)
            turns = int(trips[1]) if trips else None
            loops.append(Loop(where[1] if where else "", turns, most.launches))
            launches += most.launches * (turns or 1)
        else:
            launches += most.launches
        loops += [loop for each in inner for loop in each.loops]
    return Launches(launches, tuple(loops))


def _exchanges(computations: Computations, name: str, depth: int) -> list[Exchange]:
    found: list[Exchange] = []
    for line in computations[name]:
        opcode, kind = _instruction(line)
        for inner in _called(opcode, line):
            found += _exchanges(computations, inner, depth + (opcode == "while"))
        if (base := opcode.removesuffix("-start")) in _COLLECTIVES:
            sizes = _bytes(kind)
            if opcode != base and base != "all-reduce":  # its type holds operands, then results
                half = len(sizes) // 2
                sizes = max(sizes[:half], sizes[half:], key=sum)
            elif base == "reduce-scatter":
                sizes *= _group_size(line)
            found.append(Exchange(base, sum(sizes), depth))
    return found


def _called(opcode: str, line: str) -> list[str]:
    """Return the computations that an instruction runs."""
    found: list[str] = re.findall(_CALLED[opcode], line) if opcode in _CALLED else []
    return [name.lstrip("%") for each in found for name in each.split(", ")]


def _instruction(line: str) -> tuple[str, str]:
    """Return opcode and type of `%name = type opcode(operands), ...`."""
    right = line.split(" = ", 1)[1]
    depth = 0  # a tuple's type has parentheses and comments too
    for end, character in enumerate(right):
        depth += (character == "(") - (character == ")")
        if character == " " and not depth:  # the type is over
            return right[end + 1 :].partition("(")[0], right[:end]
    return "", right


def _bytes(kind: str) -> list[int]:
    """Return the size of every array in a type."""
    return [
        math.prod(map(int, filter(None, dims.split(",")))) * int(bits or 8) // 8  # pred: a byte
        for bits, dims in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", kind)
    ]


def _group_size(line: str) -> int:
    """Return the number of devices that an instruction exchanges between."""
    groups = re.search(r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\})", line)
    return 1 if groups is None else int(groups[1] or groups[2].count(",") + 1)
