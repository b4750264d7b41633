"""What several commands print: tables, sizes, counts, values."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return `rows`, the first of which is the header, in aligned columns: numbers to the right."""
    columns: list[list[str]] = []
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        is_number = all(cell[:1] in "-0123456789" for cell in column[1:])
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in column])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def number(x: float) -> str:
    """Return `x` with four digits, or all of them before the decimal point."""
    return f"{x:,.4g}" if abs(x) < 1e4 else f"{x:,.0f}"


def size(n: float) -> str:
    """Return `n` bytes in MB or GB."""
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB"


def plural(n: int, noun: str) -> str:
    """Return a count, such as `1 run` or `2 runs`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"
