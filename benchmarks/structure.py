"""Print how the package is put together: its size, its doors, levels of imports, circles.

    python benchmarks/structure.py [CHECKOUT] [--json]

A door is an entry at the top of the package; `training` has two, `compiled` and `host`. Imports are
read with `ast`, also those inside functions ("lazy") and under `TYPE_CHECKING` ("types").
"""

import argparse
import ast
import collections
import graphlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
ORDER = (
    *("types", "config", "networks", "losses", "algorithms", "envs", "runs"),
    *("training.compiled", "training.host", "policy", "sweep", "bench", "cli"),
)
"""A door imports only from doors before it."""

Import = collections.namedtuple("Import", "source target kind")
"""One module of the package imports another; names without `mjx_sac.`."""


def read_imports(checkout: pathlib.Path) -> Iterator[Import]:
    """Yield which modules import which; the package's root is none of them."""
    files = {}
    for path in (checkout / "mjx_sac").rglob("*.py"):
        parts = path.relative_to(checkout / "mjx_sac").with_suffix("").parts
        files[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    for source in files.keys() - {"", "__main__"}:
        for name, kind in _imports(ast.parse(files[source].read_text()), "eager"):
            package, _, target = name.partition(".")
            while target and target not in files:  # a name in a module, not a module
                target = target.rpartition(".")[0]
            if package == "mjx_sac" and target not in ("", source):
                yield Import(source, target, kind)


def _imports(node: ast.AST, kind: str) -> Iterator[tuple[str, str]]:
    """Yield what is imported in `node`, and how. The package has no relative imports."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        stem = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        yield from ((stem + alias.name, kind) for alias in node.names)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        kind = "types"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        kind = "lazy"
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, kind)


def door(module: str) -> str:
    """Return the door that a module is behind."""
    return ".".join(module.split(".")[: 2 if module.startswith("training.") else 1])


def graph(imports: Iterable[Import], place: Callable[[str], str] = str) -> dict[str, set[str]]:
    """Return what each module imports or, where `place` is `door`, each door from others."""
    edges: dict[str, set[str]] = {}
    for each in imports:
        source, target = place(each.source), place(each.target)
        edges.setdefault(source, set()).update({target} - {source})
    return edges


def against_order(imports: Iterable[Import]) -> list[str]:
    """Return what doors import from later ones; doors that are not in `ORDER` are left out."""
    rank = {name: i for i, name in enumerate(ORDER)}
    found = [x for x in imports if rank.get(door(x.source), 99) < rank.get(door(x.target), -1)]
    return sorted(f"{x.source} -> {x.target}" for x in found)


def levels(edges: dict[str, set[str]]) -> int | list[str]:
    """Return the length of the longest chain of imports or, where there is one, a circle."""
    sorter, count = graphlib.TopologicalSorter(edges), 0
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    while sorter.is_active():
        sorter.done(*sorter.get_ready())
        count += 1
    return count


def measure(checkout: pathlib.Path) -> dict[str, Any]:
    """Return all figures of a checkout."""
    files, top = list((checkout / "mjx_sac").rglob("*.py")), (checkout / "mjx_sac").iterdir()
    with_types = set(read_imports(checkout))
    imports = {x for x in with_types if x.kind != "types"}
    return {
        "lines": sum(len(path.read_text().splitlines()) for path in files),
        "modules": len(files),
        "entries at the top": sum(x.name[0] != "_" and x.suffix != ".typed" for x in top),
        "levels of doors": levels(graph(imports, door)),
        "levels of modules": levels(graph(imports)),
        "the same without lazy imports": levels(graph(x for x in imports if x.kind == "eager")),
        "the same with types": levels(graph(with_types)),
        "against the order": against_order(with_types),
    }


def main() -> None:
    """Print the figures of a checkout, by default this one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path, nargs="?", default=ROOT)
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    args = parser.parse_args()
    result = measure(args.checkout)
    table = "\n".join(f"{name:30} {value}" for name, value in result.items())
    print(json.dumps(result, indent=1) if args.json else table)


if __name__ == "__main__":
    main()
