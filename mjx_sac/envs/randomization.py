"""Domain randomisation: a physics model of its own for each copy of an environment."""

# pyright: basic
import copy
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError, import_from_here, with_line
from mjx_sac.types import named_leaves

DEFAULT = "default"
"""What asks for an environment's own randomisation."""

Model = dict[str, jax.Array]
"""The arrays by which a model differs from the environment's own, by name."""

_NEEDED = "a function (model, keys [n, 2]) -> (model, in_axes), as Brax and Playground have them"


class Randomizer:
    """Draws models for an environment of Brax's interface, and puts them in."""

    def __init__(self, env: Any, label: str, function: Callable[..., Any]) -> None:
        """Trace `function`, which must be one that Brax's training takes.

        Raises:
          UsageError: it is not, or the environment has no model of MJX's or Brax's.
        """
        self._label, self._function = f"domain_randomization = {label!r}", function
        found = [name for name in ("_mjx_model", "sys") if getattr(env, name, None) is not None]
        if not found:
            problem = f"{type(env).__name__} has no model (attributes _mjx_model or sys)"
            raise UsageError(f"{self._label}: {problem}: leave it out")
        self._attribute = found[0]
        self._model: Any = getattr(env, self._attribute)
        drawn = jax.eval_shape(self.draw, jax.ShapeDtypeStruct((2, 2), jnp.uint32))
        own = {name: jnp.shape(x) for name, x in named_leaves(self._model)}
        for name, x in drawn.items():
            if x.shape != (2, *own[name]):
                problem = f"{name} has shape {x.shape} for 2 keys: must be {(2, *own[name])}"
                raise UsageError(f"{self._label}: {problem}")

    def draw(self, keys: jax.Array) -> Model:
        """Return what n models have of their own, each array [n, ...], for n keys."""
        try:
            models, axes = self._function(self._model, keys)
            same = jax.tree.structure(models) == jax.tree.structure(self._model)
        except Exception as error:
            problem = with_line(error, self._function)
            raise UsageError(f"{self._label}: {problem}: must be {_NEEDED}") from error
        if not same:
            raise UsageError(f"{self._label}: returns another model: must be {_NEEDED}")
        varied = {name for name, axis in named_leaves(axes) if axis == 0}
        drawn = {name: x for name, x in named_leaves(models) if name in varied}
        if not drawn:
            raise UsageError(f"{self._label}: in_axes has no 0, so nothing varies: {_NEEDED}")
        return drawn

    def put(self, env: Any, model: Model | None) -> Any:
        """Return `env`, or a copy of it that has the model."""
        if model is None:
            return env
        leaves = [model.get(name, x) for name, x in named_leaves(self._model)]
        changed = jax.tree.unflatten(jax.tree.structure(self._model), leaves)
        env = copy.copy(env)
        setattr(env, self._attribute, changed)
        return env


def function(label: str, env: str, own: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return what `label` names, or raise UsageError: `own`, or `module:function`."""
    field = f"domain_randomization = {label!r}"
    if label == DEFAULT:
        if own is None:
            problem = f"{env} has no randomisation of its own"
            raise UsageError(f"{field}: {problem}: give module:function, {_NEEDED}")
        return own
    module, _, attribute = label.partition(":")
    import_from_here()
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(f"{field}: {problem}: give {DEFAULT}, or module:function") from error
