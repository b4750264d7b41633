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
    """Return what was counted and measured of each packaged algorithm; below it, what each is."""
    head = [
        "`--algorithm`",
        "when to use it",
        "cost",
        "lines",
        "difference",
        "Pendulum-v1",
        "launches",
        "beside SAC (steps/s)",
    ]
    launches = result("gpu_launches_updates")["launches_per_update"]
    rows = [
        [
            f"`{name}`",
            packaged.use,
            f"{packaged.cost:.4g}",
            str(len(source(name).read_text().splitlines())),
            difference(name),
            learned(name),
            f"{launches[name]:g}" if name in launches else NOT_MEASURED,
            speed(name),
        ]
        for name, packaged in PACKAGED.items()
    ]
    return f"{table(head, *rows)}\n\n" + "\n".join(map(described, PACKAGED))


NOT_MEASURED = "not measured"


def result(name: str) -> Any:
    """Return a result of `benchmarks/`."""
    return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())


def source(name: str) -> pathlib.Path:
    """Return a packaged algorithm's file."""
    package = ROOT / "mjx_sac"
    return package / "losses.py" if name == "sac" else package / "algorithms" / f"{name}.py"


def difference(name: str) -> str:
    """Return how far our gradient steps are from recorded ones, and whose these are."""
    found = result("recorded_steps")["algorithms"].get(name)
    if found is None:
        return "by hand"
    code, commit = found["code"], found["commit"]
    link = f"[{code}](https://github.com/{code}/tree/{commit})"
    return f"{found['largest_difference']:.0e}, {link}"


def learned(name: str) -> str:
    """Return the mean return at the end of a curve, with the seeds, and a link to the curve."""
    for path in sorted((BENCHMARKS / "results").glob("learning_*_Pendulum-v1*.json")):
        if curves := result(path.stem)["curves"].get(name):
            returns = [curve[-1][1] for curve in curves]
            text = f"{sum(returns) / len(returns):,.0f} ({len(returns)})"
            picture = f"../benchmarks/results/{path.stem}.png"
            return f"[{text}]({picture}) at {curves[0][-1][0]:,}"
    return NOT_MEASURED


def speed(name: str) -> str:
    """Return the iterations that gradient steps on a CPU allow beside SAC's, and how many these
    are a second.
    """
    found = result("algorithm_speed")["algorithms"].get(name)
    if found is None:
        return "1" if name == "sac" else NOT_MEASURED
    beside, updates = (
        found[key]["median"] for key in ("iterations_beside_sac", "updates_per_second")
    )
    return f"{beside:.2g} ({updates:.3g})"


def described(name: str) -> str:
    """Return what an algorithm is, and how its configuration differs from SAC's."""
    changed, own = differences(loader.config_class(name))
    summary, papers = describe(name)
    text = f"- `{name}`: {linked(' '.join((f'{summary}.', *papers)))}"
    if changed:
        values = (f"`{field} = {default(value)}`" for field, value in changed.items())
        text += f" Other defaults: {', '.join(values)}."
    if own:
        text += f" Own flags: {', '.join(f'`--{k}` ({default(x)})' for k, x in own.items())}."
    return text


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
