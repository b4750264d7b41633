"""Write what the documentation says of code and results: flags, algorithms, figures.

    python docs/generate.py

Each block stands between `<!-- NAME -->` and `<!-- /NAME -->` in README.md or a page here. No
figure is copied by hand; a test fails where a page is out of date.
"""

import json
import pathlib
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

from mjx_sac.algorithms import PACKAGED, describe, differences, loader
from mjx_sac.config import Config, flag, mark

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
BENCHMARKS = ROOT / "benchmarks"

sys.path.append(str(BENCHMARKS))  # where `figures.py` finds its `rows.py`
FIGURES = runpy.run_path(str(BENCHMARKS / "figures.py"))
table: Callable[..., str] = FIGURES["table"]


def default(value: Any) -> str:
    """Return a default as it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "auto" if value is None else "" if value == {} else str(value)


def meaning(config_class: type[Config], name: str) -> str:
    """Return a field's help text, with the values where there are few."""
    field = config_class.model_fields[name]
    values = [f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str)]
    text = (field.description or "").replace("<", r"\<")  # no HTML
    return f"{text}{': ' * bool(values)}{', '.join(values)}"


def flags() -> str:
    """Return a table of flags for each group."""
    groups: dict[str, list[list[str]]] = {}
    for name, field in Config.model_fields.items():
        fixed = "fixed" if mark(Config, name, "fixed") else ""
        row = [f"`{flag(name)}`", default(field.default), meaning(Config, name), fixed]
        groups.setdefault(mark(Config, name, "group"), []).append(row)
    head = ["flag", "default", "meaning", "when resuming"]
    return "\n\n".join(f"## {group}\n\n{table(head, *rows)}" for group, rows in groups.items())


def algorithms() -> str:
    """Return what each packaged algorithm is, and how its configuration differs from SAC's."""
    head = ["`--algorithm`", "what it is", "when to use it", "cost", "other defaults", "own flags"]
    rows = []
    for name, packaged in PACKAGED.items():
        changed, own = differences(loader.config_class(name))
        rows.append(
            [
                f"`{name}`",
                linked(f"{describe(name).summary}. {' '.join(describe(name).papers)}"),
                packaged.use,
                f"{packaged.cost:.4g}",
                ", ".join(f"`{field} = {default(value)}`" for field, value in changed.items()),
                ", ".join(f"`--{field}` ({default(value)})" for field, value in own.items()),
            ]
        )
    return table(head, *rows)


def linked(text: str) -> str:
    """Return `text` with links to the papers."""
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def devices() -> dict[str, str]:
    """Return what `benchmarks/devices.py` says of its result."""
    say = runpy.run_path(str(BENCHMARKS / "devices.py"))
    result = json.loads((BENCHMARKS / "results" / "devices_ant.json").read_text())
    return {
        "exchanges": say["exchanges"](result),
        "shared": say["table"](result, grows=False),
        "grown": f"{say['table'](result, grows=True)}\n\n{say['limits'](result)}",
    }


BLOCKS: dict[str, Callable[[], str]] = {
    **FIGURES["BLOCKS"],
    "flags": flags,
    "algorithms": algorithms,
    "exchanges": lambda: devices()["exchanges"],
    "shared": lambda: devices()["shared"],
    "grown": lambda: devices()["grown"],
}


def renew(text: str) -> str:
    """Return a page with its blocks as they are now."""
    for name, make in BLOCKS.items():
        block = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if block.search(text):
            body = make()
            text = block.sub(lambda m, body=body: f"{m[1]}\n{body}\n\n{m[2]}", text)
    return text


def pages() -> Iterator[tuple[pathlib.Path, str]]:
    """Yield every page with the text it should have."""
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        yield path, renew(path.read_text())


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text)
