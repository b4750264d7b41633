"""Observations in parts: what of them is kept, and what actor and critics see of it.

A dictionary or tuple of observations, nested or not, is flattened into one vector: part by part in
JAX's order (dictionaries by sorted keys; a Gymnasium space in its own order), each row by row. A
part has the name of its keys, joined by dots.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mjx_sac.config import UsageError, nearest

Shapes = Mapping[str, tuple[int, ...]]
Ranges = tuple[tuple[int, int], ...]
"""Parts of a vector, each from a first number to one that is not in it any more."""

WHOLE = "state"
"""What an observation without parts is called."""

MAX_SIZE = 10_000
"""Numbers in a flat observation. Larger ones are images, for which there is no network here."""


class Views(NamedTuple):
    """One flat vector, and the ranges of it that actor and critics see.

    Attributes:
      parts: where each part begins that the vector consists of, by name.
      size: of the vector.
      actor_parts: shapes of the parts that the actor sees, by name.
      shapes: of all parts that there are.
    """

    parts: Mapping[str, int]
    size: int
    actor: Ranges
    critic: Ranges
    actor_parts: Shapes
    shapes: Shapes

    @property
    def differ(self) -> bool:
        """Whether anybody sees less than all, or in another order."""
        return self.actor != self.critic or self.actor != ((0, self.size),)

    def spaces(self) -> dict[str, Any]:
        """Return what a policy has to know, ready for JSON.

        Returns:
          "observation": shapes of the parts that the actor sees, nested as in the environment.
          "views": "actor" and "critic", the ranges that each sees, and "actor_observation", the
            actor's parts; absent where both see everything.
        """
        nested: dict[str, Any] = {}
        for name, shape in self.actor_parts.items():
            *path, last = name.split(".")
            functools.reduce(lambda at, key: at.setdefault(key, {}), path, nested)[last] = [*shape]
        if not self.differ:
            return {"observation": nested}
        ranges = {who: [[*pair] for pair in getattr(self, who)] for who in ("actor", "critic")}
        seen = {**ranges, "actor_observation": ",".join(self.actor_parts)}
        return {"observation": nested, "views": seen}


def choose(
    label: str,
    shapes: Shapes,
    actor: str | None,
    critic: str | None,
    slices: Mapping[str, Mapping[str, int]] | None = None,
) -> Views:
    """Return the views that fields `actor_observation` and `critic_observation` ask for.

    By default both see everything, but where there are a `state` and a `privileged_state` the actor
    sees the first and the critics the second, as in MuJoCo Playground. `shapes` are of all parts,
    in order; `slices` say in which others a part lies, and where: it is kept once. UsageError,
    which names the environment by `label`, where there is no part of that name.
    """
    asymmetric = {"state", "privileged_state"} <= shapes.keys()
    if asymmetric:
        actor, critic = actor or "state", critic or "privileged_state"
    by_actor = _select(label, shapes, "actor_observation", actor)
    by_critic = _select(label, shapes, "critic_observation", critic)
    used = [name for name in shapes if name in {*by_actor, *by_critic}]
    inside = {
        name: {k: offset for k, offset in (slices or {}).get(name, {}).items() if k in used}
        for name in used
    }
    starts, size = {}, 0
    for name in used:
        if not inside[name]:
            starts[name], size = size, size + math.prod(shapes[name])
    check_size(label, size)

    def start(name: str) -> int:
        if name in starts:
            return starts[name]
        other, offset = next(iter(inside[name].items()))
        return start(other) + offset

    def ranges(names: list[str]) -> Ranges:
        return merged((start(name), start(name) + math.prod(shapes[name])) for name in names)

    actor_parts = {name: shapes[name] for name in by_actor}
    return Views(starts, size, ranges(by_actor), ranges(by_critic), actor_parts, shapes)


def _select(label: str, shapes: Shapes, field: str, names: str | None) -> list[str]:
    """Return in order the parts that `names` are names or first keys of; None is all of them."""
    chosen: list[str] = []
    for name in names.split(",") if names else shapes:
        found = [part for part in shapes if part == name or part.startswith(f"{name}.")]
        if not found:
            hint = nearest(name, [*shapes]) or f": those are {', '.join(shapes)}"
            raise UsageError(f"{field} = {name!r}: {label} has no such part of observations{hint}")
        chosen += found
    return [part for part in shapes if part in chosen]


def refuse(label: str, actor: str | None, critic: str | None) -> None:
    """Raise UsageError where a part is asked for, of an observation that has none."""
    for field, names in (("actor_observation", actor), ("critic_observation", critic)):
        if names not in (None, WHOLE):
            problem = f"observations of {label} are one vector, without parts: leave it out"
            raise UsageError(f"{field} = {names!r}: {problem}")


def check_size(label: str, size: int) -> int:
    """Return the size of an observation, or raise UsageError if it is an image's."""
    if size > MAX_SIZE:
        problem = f"observations have {size:,} numbers, more than {MAX_SIZE:,}"
        advice = "images cannot be learned from; wrap the environment to return features"
        raise UsageError(f"env = {label!r}: {problem}: {advice}")
    return size


def kept(shapes: Shapes, views: Views) -> Ranges | None:
    """Return where the parts that are kept lie among all of them; None where those are all."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    found = zip(shapes, sizes, itertools.accumulate(sizes), strict=True)
    ranges = merged((end - size, end) for name, size, end in found if name in views.parts)
    return None if ranges == ((0, sum(sizes)),) else ranges


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges with those made one of which the second begins where the first ends."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and merged[-1][1] == first:
            first = merged.pop()[0]
        merged.append((first, last))
    return tuple(merged)


def see(vector: Any, ranges: Iterable[Iterable[int]]) -> Any:
    """Return what is in `ranges` of the last axis of an array, NumPy's or JAX's."""
    parts = [vector[..., first:last] for first, last in ranges]
    if len(parts) == 1:
        return parts[0]
    import jax.numpy as jnp

    return jnp.concatenate(parts, axis=-1)


class Seeing(NamedTuple):
    """A network that is given the vector and sees `ranges` of it."""

    network: Any
    ranges: Ranges

    def init(self, key: Any, observation: Any, *others: Any) -> Any:
        return self.network.init(key, see(observation, self.ranges), *others)

    def apply(self, params: Any, observation: Any, *others: Any, **how: Any) -> Any:
        return self.network.apply(params, see(observation, self.ranges), *others, **how)


def seeing(networks: Any, views: Views | None) -> Any:
    """Return actor and critics of a `Networks` with each seeing its part of the vector."""
    if views is None or not views.differ:
        return networks
    return networks._replace(
        actor=Seeing(networks.actor, views.actor), critic=Seeing(networks.critic, views.critic)
    )
