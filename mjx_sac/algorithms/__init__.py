"""Algorithms, one file each, and what all of them share; soft actor-critic is `mjx_sac.losses`.

An algorithm is a module with `losses`, a `mjx_sac.Losses`. It may also define `Config`, a subclass
of `mjx_sac.Config` with more fields or other defaults, `networks(config, action_size)`, which
returns `mjx_sac.networks.Networks`, and the other parts of `mjx_sac.algorithms.base.Algorithm`.
"""

import ast
from pathlib import Path
from typing import Any, NamedTuple

from mjx_sac.config import Config


class Packaged(NamedTuple):
    """What a packaged algorithm costs, and when to use it.

    Costs are floating-point operations of gradient steps per iteration, soft actor-critic's are 1,
    for HalfCheetah at its own defaults; `benchmarks/algorithm_costs.py` counts them.
    """

    cost: float
    use: str


PACKAGED = {
    "sac": Packaged(1.0, "the one to begin with, and to compare with"),
    "td3": Packaged(0.78, "no temperature: one thing less to tune, and noise instead of entropy"),
    "redq": Packaged(53.0, "environments whose steps are dear: 20 gradient steps for each"),
    "cql": Packaged(9.3, "recorded data alone: distrusts actions that they do not hold"),
    "td3bc": Packaged(0.78, "recorded data alone, at a twelfth of cql's cost"),
    "flashsac": Packaged(36.0, "high returns, where gradient steps are cheap: a GPU, slow steps"),
    "xqc": Packaged(27.0, "returns near flashsac's, with less arithmetic"),
    "simbav2": Packaged(49.0, "returns near xqc's, without BatchNorm"),
    "crossq": Packaged(50.0, "high returns in few transitions, and no target critics"),
    "tqc": Packaged(15.0, "values that come out too high: one number holds them down"),
    "fasttd3": Packaged(6.6, "thousands of environments on a GPU, without a temperature"),
    "fastsac": Packaged(3.5, "thousands of environments on a GPU, legged robots above all"),
    "brc": Packaged(1400.0, "high returns in few transitions, if arithmetic is free: a large GPU"),
    "csac": Packaged(1.0, "a small machine: more return for sac's arithmetic"),
}
"""What `--algorithm NAME` finds in this package, by name."""


class Described(NamedTuple):
    """A packaged algorithm's docstring: its first line, and the papers it names."""

    summary: str
    papers: tuple[str, ...]


def describe(name: str) -> Described:
    """Return what the module of a packaged algorithm says of itself, without importing JAX."""
    text, _, references = (ast.get_docstring(_parsed(name)) or "").partition("References:")
    papers: list[str] = []
    for line in filter(None, map(str.strip, references.splitlines())):
        if papers and not papers[-1].endswith("."):
            papers[-1] += f" {line}"
        else:
            papers.append(line)
    return Described(text.partition("\n")[0].rstrip("."), tuple(papers))


def own_fields(name: str) -> set[str]:
    """Return the fields that only the algorithm's `Config` has, without importing JAX."""
    return _annotated(name) - Config.model_fields.keys()


def owners(field: str) -> list[str]:
    """Return the packaged algorithms that have a field which is not in every `Config`."""
    return [name for name in PACKAGED if field in own_fields(name)]


def differences(config_class: type[Config]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults in which an algorithm differs from soft actor-critic, and its own."""
    defaults = {name: field.default for name, field in config_class.model_fields.items()}
    known = {name: field.default for name, field in Config.model_fields.items()}
    changed = {k: x for k, x in defaults.items() if k in known and x != known[k]}
    return changed, {k: x for k, x in defaults.items() if k not in known}


def _parsed(name: str) -> ast.Module:
    here = Path(__file__).parent
    path = here.with_name("losses.py") if name == "sac" else here / f"{name}.py"
    return ast.parse(path.read_bytes())


def _annotated(name: str) -> set[str]:
    """Return the fields of `Config` in the module `name`, and of what it is a subclass of here."""
    fields: set[str] = set()
    for part in _parsed(name).body:
        if isinstance(part, ast.ClassDef) and part.name == "Config":
            fields |= {
                line.target.id
                for line in part.body
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            }
            for base in part.bases:  # such as `categorical.Config`
                module = ast.unparse(base).partition(".")[0]
                if Path(__file__).with_name(f"{module}.py").is_file():
                    fields |= _annotated(module)
    return fields
