"""Print how the package is put together: its size, its doors, levels of imports, circles.

    python benchmarks/structure.py [CHECKOUT] [--json]

Imports are read with `ast`; nothing of the checkout is imported. An import is "eager" at the top of
a module, "lazy" inside a function, and "types" under `TYPE_CHECKING`. A door is an entry at the top
of the package; `training` has two, `training.compiled` and `training.host`.
"""

import argparse
import ast
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

PACKAGE = "mjx_sac"
ORDER = (
    *("types", "config", "networks", "losses", "algorithms", "envs", "runs"),
    *("training.compiled", "training.host", "policy", "sweep", "bench", "cli"),
)
"""A door imports only from doors before it."""
NO_DOORS = ("__init__.py", "__main__.py", "py.typed", "__pycache__")

Graph = dict[str, set[str]]


class Import(NamedTuple):
    """Module `source` imports module `target`, names without `mjx_sac.`; kind as above."""

    source: str
    target: str
    kind: str


def read_imports(package: pathlib.Path) -> list[Import]:
    """Return all imports of the package's modules from each other, but those of the root."""
    files = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = set()
    for name in files.keys() - {"", "__main__"}:
        home = name if files[name].name == "__init__.py" else name.rpartition(".")[0]
        for node, kind in _walk(ast.parse(files[name].read_text()), "eager"):
            targets = {_existing(target, files) for target in _targets(node, home)}
            found |= {Import(name, target, kind) for target in targets - {"", name}}
    return sorted(found)


def _walk(node: ast.AST, kind: str) -> Iterator[tuple[ast.AST, str]]:
    yield node, kind
    is_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    is_lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        types = is_types and child in node.body
        yield from _walk(child, "types" if types else "lazy" if is_lazy else kind)


def _targets(node: ast.AST, home: str) -> Iterable[str]:
    """Return what a statement imports, as names inside the package."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        parents = [PACKAGE, *home.split(".")] if home else [PACKAGE]
        above = parents[: len(parents) - node.level + 1] if node.level else []
        stem = ".".join([*above, *([node.module] if node.module else [])])
        names = [f"{stem}.{alias.name}" for alias in node.names]
    else:
        names = []
    return [name.partition(".")[2] for name in names if name.partition(".")[0] == PACKAGE]


def _existing(target: str, files: dict[str, pathlib.Path]) -> str:
    """Return the module that `target` is, or is a name in."""
    while target not in files:
        target = target.rpartition(".")[0]
    return target


def door(module: str) -> str:
    """Return the door a module is behind."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "training" else 1])


def graph(imports: Iterable[Import], kinds: tuple[str, ...] = ("eager", "lazy")) -> Graph:
    """Return what each module imports."""
    edges: Graph = {}
    for source, target, kind in imports:
        edges.setdefault(target, set())
        edges.setdefault(source, set()).update([target] if kind in kinds else [])
    return edges


def between_doors(imports: Iterable[Import]) -> set[Import]:
    """Return the imports that lead from door to door, with the doors in place of the modules."""
    doors = {Import(door(source), door(target), kind) for source, target, kind in imports}
    return {each for each in doors if each.source != each.target}


def backward(imports: Iterable[Import]) -> list[Import]:
    """Return the imports between declared doors that run against `ORDER`, types' too."""
    place = {name: i for i, name in enumerate(ORDER)}
    known = [x for x in imports if {door(x.source), door(x.target)} <= place.keys()]
    return [x for x in known if place[door(x.source)] < place[door(x.target)]]


def circles(edges: Graph) -> list[list[str]]:
    """Return the groups of modules that all import each other, directly or not."""
    groups = {frozenset(n for n in reach(edges, m) if m in reach(edges, n)) for m in edges}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def reach(edges: Graph, start: str) -> set[str]:
    """Return everything that `start` imports, directly or not."""
    seen, todo = set(), [start]
    while todo:
        new = edges[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def levels(edges: Graph) -> int:
    """Return the length of the longest chain of imports, in modules; a circle is one level."""
    depth = dict.fromkeys(edges, 1)
    member = {name: group for group in map(tuple, circles(edges)) for name in group}
    for _ in edges:  # no chain is longer than there are modules
        for name, targets in edges.items():
            group = member.get(name, (name,))
            below = [depth[target] for target in targets if target not in group]
            deepest = max([depth[name], *(1 + d for d in below)])
            depth.update(dict.fromkeys(group, deepest))
    return max(depth.values(), default=0)


def measure(checkout: pathlib.Path) -> dict[str, Any]:
    """Return all figures of a checkout."""
    package = checkout / PACKAGE
    imports = read_imports(package)
    modules, doors = graph(imports), between_doors(imports)
    found = circles(modules)
    return {
        "lines": sum(len(path.read_text().splitlines()) for path in package.rglob("*.py")),
        "modules": sum(1 for _ in package.rglob("*.py")),
        "entries_at_top": sorted(x.name for x in package.iterdir() if x.name not in NO_DOORS),
        "levels_of_modules_eager": levels(graph(imports, ("eager",))),
        "levels_of_modules": levels(modules),
        "levels_of_doors": levels(graph(doors)),
        "edges_between_modules": sum(map(len, modules.values())),
        "edges_between_doors": sum(map(len, graph(doors).values())),
        "doors_not_in_order": sorted(graph(doors).keys() - set(ORDER)),
        "against_order": [f"{x.source} -> {x.target} ({x.kind})" for x in backward(imports)],
        "circles": found,
        "circles_of_doors": circles(graph(doors)),
        "circles_with_types": [c for c in circles(graph(imports, ("eager", "lazy", "types"))) if c not in found],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).parents[1]
    parser.add_argument("checkout", type=pathlib.Path, nargs="?", default=here)
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    result = measure(args.checkout)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        items = value if isinstance(value, list) else []
        print(f"{name.replace('_', ' '):26} {len(items) if value == items else format(value, ',')}")
        for item in items:
            print(f"{'':28}{' '.join(item) if isinstance(item, list) else item}")


if __name__ == "__main__":
    main()
