"""Playground's environments on MJX-Warp, MJX's physics as NVIDIA Warp kernels."""

# pyright: basic
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError
from mjx_sac.envs.base import State, physics_precision, reset_shape
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.randomization import Model
from mjx_sac.types import Key, Step

GRAPH_MODES = ("warp_staged", "warp", "none")
"""How kernels become CUDA graphs. In a scan XLA may move buffers, for which `warp` captures anew;
`warp_staged` copies them to where they were captured."""

_TUNED_FOR = 8192
"""Environments for which Playground's tasks have room for contacts, which all share. Fewer get up
to four times their part: the fewer, the less they make up for each other."""


class WarpEnvironment(BraxEnvironment):
    """An environment on MJX-Warp.

    Warp keeps part of its state, such as the list of contacts, once for all environments and fills
    it again in every step. One environment's state is stored without that part, since it would not
    fit the next episode; zeros take its place before each step.

    It reports `overflow`: whether in this step contacts or constraints found no room.
    """

    def __init__(self, env: Any, randomize: Any = None, graph_mode: str = GRAPH_MODES[0]) -> None:
        if hasattr(env, "_mjx_model"):  # what Playground's environments return as `mjx_model`
            env._mjx_model = prepared(env._mjx_model, graph_mode)
        super().__init__(env, randomize)
        one = reset_shape(self._reset)
        with physics_precision():
            two = jax.eval_shape(jax.vmap(self._reset), jax.ShapeDtypeStruct((2, 2), jnp.uint32))
        # The shape where a leaf is shared by all environments, None where each has one.
        self._shared = jax.tree.map(lambda x, xs: x if x.shape == xs.shape else None, one, two)

    def reset(self, key: Key, *model: Model) -> State:
        return _reporting(self._without_shared(super().reset(key, *model)))

    def step(self, state: State, action: jax.Array, *model: Model) -> tuple[State, Step]:
        def blank(shared: Any, own: Any) -> Any:
            return own if shared is None else jnp.zeros(shared.shape, shared.dtype)

        state, step = super().step(self._map(blank, _silent(state)), action, *model)
        return _reporting(self._without_shared(state)), step

    def _without_shared(self, state: State) -> State:
        return self._map(lambda shared, x: x if shared is None else None, state)

    def _map(self, function: Any, state: State) -> State:
        inner = jax.tree.map(function, self._shared, state.inner, is_leaf=lambda x: x is None)
        return state.replace(inner=inner)


def _reporting(state: State) -> State:
    """Return the state with `overflow` among its metrics, where its physics has it."""
    inner = state.inner
    if (flags := _flags(inner)) is None:
        return state
    found = jnp.asarray(flags & ~_iterations() != 0, jnp.float32).reshape(())
    return state.replace(inner=inner.replace(metrics={**inner.metrics, "overflow": found}))


def _silent(state: State) -> State:
    """Return the state without `overflow`, and without Warp's flags, which stay until a reset."""
    inner = state.inner
    if (flags := _flags(inner)) is None:
        return state
    data = inner.data.tree_replace({"_impl.overflow": jnp.zeros_like(flags)})
    metrics = {k: x for k, x in inner.metrics.items() if k != "overflow"}
    return state.replace(inner=inner.replace(data=data, metrics=metrics))


def _flags(inner: Any) -> jax.Array | None:
    physics = getattr(getattr(inner, "data", None), "_impl", None)
    return getattr(physics, "overflow", None)


def _iterations() -> int:
    """Return the flags of a solver that uses all its iterations, few on purpose in learning."""
    from mujoco.mjx.third_party.mujoco_warp import OverflowType

    return int(OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS)


def quiet() -> None:
    """Have Warp print warnings only, or it prints every kernel it loads."""
    import warp  # pyright: ignore[reportMissingImports]

    warp.config.log_level = warp.LOG_WARNING


def prepared(model: Any, graph_mode: str) -> Any:
    """Return a model whose kernels become graphs as asked (a CPU has none).

    Warp prints no line for every solver that uses all its iterations.
    """
    from mujoco.mjx.warp.types import GraphMode

    kept = model.opt._impl.warn_overflow & ~_iterations()
    changes: dict[str, Any] = {"opt._impl.warn_overflow": kept}
    if jax.default_backend() != "cpu":
        changes["opt._impl.graph_mode"] = getattr(GraphMode, graph_mode.upper())
    return model.tree_replace(changes)


def prepare(
    given: Mapping[str, Any], defaults: Mapping[str, Any], copies: int
) -> tuple[Any, dict[str, Any]]:
    """Return what adapts an environment, and its options: `given`, and room for contacts.

    All `copies` share that room. The option `graph_mode` is ours.

    Raises:
      UsageError: the graph mode is none.
    """
    quiet()
    options = dict(given)
    mode = options.pop("graph_mode", GRAPH_MODES[0])
    if mode not in GRAPH_MODES:
        way_out = f"choose {', '.join(GRAPH_MODES)}"
        raise UsageError(f"env_option = 'graph_mode': {mode!r} is none: {way_out}")
    if "naconmax" in defaults and "naconmax" not in options:
        per_env = -(-defaults["naconmax"] // _TUNED_FOR)
        few = min(4 * per_env * copies, defaults["naconmax"])
        options["naconmax"] = per_env * copies if copies > _TUNED_FOR else few
    return partial(WarpEnvironment, graph_mode=mode), options
