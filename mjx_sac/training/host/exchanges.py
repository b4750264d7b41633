"""What moves between devices: read off XLA's optimised program, as `launches` reads what is started."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from mjx_sac import launches
from mjx_sac.trainer import UPDATES_PER_TURN

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16}


class Exchange(NamedTuple):
    """An exchange between all devices.

    Attributes:
      kind: such as "all-reduce".
      bytes: of the whole array: what all have of a sum or a gathering in the end, what is scattered before.
      depth: loops around it. Of an epoch, 0 is what happens once, 1 in every vector step, 2 in every `UPDATES_PER_TURN` gradient
        steps. (A loop of a single turn is none: with so few gradient steps per vector step they are in depth 1.)
    """

    kind: str
    bytes: int
    depth: int


def count(hlo: str) -> list[Exchange]:
    """The exchanges of an optimised program, given as text."""
    return _count(*launches.parse(hlo), depth=0)


def _count(computations: dict[str, list[str]], name: str, depth: int) -> list[Exchange]:
    found: list[Exchange] = []
    for line in computations[name]:
        opcode, kind = launches.instruction(line)
        for inner in launches.called(opcode, line):
            found += _count(computations, inner, depth + (opcode == "while"))
        if (base := opcode.removesuffix("-start")) in _KINDS:
            sizes = _bytes(kind)
            if opcode != base and base != "all-reduce":  # its type is of what goes in, and then of what comes out
                half = len(sizes) // 2
                sizes = max(sizes[:half], sizes[half:], key=sum)
            elif base == "reduce-scatter":
                sizes *= _parts(line)
            found.append(Exchange(base, sum(sizes), depth))
    return found


def _bytes(kind: str) -> list[int]:
    """Of every array in a type."""
    shapes = re.findall(r"([a-z]+\d*)\[([\d,]*)\]", kind)
    return [math.prod(map(int, filter(None, dims.split(",")))) * _width(name) // 8 for name, dims in shapes]


def _parts(line: str) -> int:
    """Among how many devices an instruction exchanges."""
    groups = re.search(r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\})", line)
    return 1 if groups is None else int(groups[1] or groups[2].count(",") + 1)


def _width(name: str) -> int:
    return _BITS.get(name) or int(re.sub(r"\D", "", name))


def describe(exchanges: Sequence[Exchange]) -> str:
    """Numbers and bytes, in a line for people."""
    parts: list[str] = []
    for depth, of, turn in ((1, "vector step", 1), (2, "gradient step", UPDATES_PER_TURN)):
        here = [each.bytes for each in exchanges if each.depth == depth]
        if here:
            parts.append(f"{len(here) / turn:g} exchanges of {sum(here) // turn:,} bytes in all per {of}")
    return ", ".join(parts) or "no exchange but of metrics, once per epoch"
