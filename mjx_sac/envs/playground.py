"""MuJoCo Playground's environments, by `playground/<Name>`; the extra `playground` installs them."""

# pyright: basic
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError, nearest
from mjx_sac.envs.base import State, physics_precision, reset_shape
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.types import Key, Step


class WarpEnvironment(BraxEnvironment):
    """One on MJX-Warp.

    Warp keeps some of its state, such as the list of contacts, once for all environments, and fills it anew in every step. An
    environment's own state, of which a new episode brings another, goes without: zeros take its place before each step.
    """

    def __init__(self, env: Any) -> None:
        if hasattr(
            env, "_mjx_model"
        ):  # where Playground's environments keep what they return as `mjx_model`
            env._mjx_model = _without_news_of_iterations(env._mjx_model)
        super().__init__(env)
        one = reset_shape(self._reset)
        with physics_precision():
            two = jax.eval_shape(jax.vmap(self._reset), jax.ShapeDtypeStruct((2, 2), jnp.uint32))
        self._shared = jax.tree.map(lambda x, xs: x if x.shape == xs.shape else None, one, two)

    def reset(self, key: Key) -> State:
        return self._without_shared(super().reset(key))

    def step(self, state: State, action: jax.Array) -> tuple[State, Step]:
        inner = jax.tree.map(
            lambda shared, own: own if shared is None else jnp.zeros(shared.shape, shared.dtype),
            self._shared,
            state.inner,
            is_leaf=lambda x: x is None,
        )
        state, step = super().step(state.replace(inner=inner), action)
        return self._without_shared(state), step

    def _without_shared(self, state: State) -> State:
        own = jax.tree.map(
            lambda shared, x: x if shared is None else None,
            self._shared,
            state.inner,
            is_leaf=lambda x: x is None,
        )
        return state.replace(inner=own)


def _without_news_of_iterations(model: Any) -> Any:
    """Warp prints a line whenever a solver uses all its iterations, of which models for learning have few on purpose. What it says
    of contacts that found no room stays.
    """
    from mujoco.mjx.third_party.mujoco_warp import OverflowType

    told = model.opt._impl.warn_overflow & ~(OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS)
    return model.tree_replace({"opt._impl.warn_overflow": int(told)})


def make(name: str, impl: str) -> BraxEnvironment:
    """The environment with Playground's own default configuration, on MJX's implementation `impl`.

    Raises:
      UsageError: Playground has no such environment, or it does not run on `impl`.
    """
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]

    if name not in registry.ALL_ENVS:
        hint = nearest(name, list(registry.ALL_ENVS))
        raise UsageError(
            f"env = 'playground/{name}': MuJoCo Playground has no such environment{hint}"
        )
    chooses = "impl" in registry.get_default_config(name)
    if impl == "warp" and not chooses:
        raise UsageError(f"impl = 'warp': playground/{name} has no choice of it: leave --impl out")
    if impl == "warp":
        import warp  # pyright: ignore[reportMissingImports]

        warp.config.log_level = warp.LOG_WARNING  # it would tell of every kernel it loads
    env = registry.load(name, config_overrides={"impl": impl} if chooses else None)
    return (WarpEnvironment if impl == "warp" else BraxEnvironment)(env)
