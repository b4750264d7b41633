"""Find parts of an observation that lie in others, in the program that computes them."""

# pyright: basic
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import Var

from mjx_sac.types import named_leaves

_Atoms = tuple[tuple[Any, int], ...]
"""What a vector is put together from: whatever identifies a piece, and its size."""

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat")
_NOTHING = ("reshape", "convert_element_type", "copy", "optimization_barrier", "squeeze")
"""Operations that change nothing where shape and type stay."""


def find(function: Callable[..., Any], *shapes: Any) -> dict[str, dict[str, int]]:
    """Return for each vector that `function` returns in which others it lies, and from where.

    It returns a pytree of parts; `shapes` are of its arguments. A vector lies in another where
    both are put together (`concatenate`) from the same pieces. That is certain: what only happened
    to be equal in some observations would not be.
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
    names = [name for name, _ in named_leaves(out)]
    inputs = [((("input", i), _size(var)),) for i, var in enumerate(closed.jaxpr.invars)]
    found = dict(zip(names, _outputs(closed.jaxpr, inputs, ()), strict=True))
    return {name: _places(name, found) for name in found}


def _places(name: str, found: Mapping[str, _Atoms]) -> dict[str, int]:
    """Return where the atoms of `name` begin in others; two that are equal lie in the first."""
    own, places = found[name], {}
    order = [*found]
    for other, atoms in found.items():
        if other == name or (atoms == own and order.index(other) > order.index(name)):
            continue
        for i in range(len(atoms) - len(own) + 1):
            if atoms[i : i + len(own)] == own:
                places[other] = sum(size for _, size in atoms[:i])
                break
    return places


def _outputs(jaxpr: Any, inputs: list[_Atoms], path: tuple[int, ...]) -> list[_Atoms]:
    """Return what each output of a program is put together from; `path` leads to the program."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    makers = {var: (i, eqn) for i, eqn in enumerate(jaxpr.eqns) for var in eqn.outvars}

    def atoms(var: Any) -> _Atoms:
        if not isinstance(var, Var):  # a literal is nobody else's
            return ((object(), _size(var)),)
        if var not in known:
            known[var] = made(var) if var in makers else (((path, var), _size(var)),)
        return known[var]

    def made(var: Any) -> _Atoms:
        i, eqn = makers[var]
        name, inner = eqn.primitive.name, eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        position = eqn.outvars.index(var)
        if name == "concatenate" and len(var.aval.shape) == 1:
            return tuple(atom for operand in eqn.invars for atom in atoms(operand))
        if name in _CALLS and inner is not None:
            inner = getattr(inner, "jaxpr", inner)
            return _outputs(inner, [*map(atoms, eqn.invars)], (*path, i))[position]
        if name in _NOTHING and _alike(eqn.invars[position], var):
            return atoms(eqn.invars[position])
        return (((path, var), _size(var)),)

    return [atoms(var) for var in jaxpr.outvars]


def _alike(one: Any, other: Any) -> bool:
    return (one.aval.shape, one.aval.dtype) == (other.aval.shape, other.aval.dtype)


def _size(var: Any) -> int:
    return getattr(var.aval, "size", 0)
