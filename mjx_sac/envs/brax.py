"""Adapter for Brax's environments, and for others with Brax's interface, such as Playground's."""

# pyright: basic
import contextlib
import io
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError
from mjx_sac.envs.base import State, reset_shape
from mjx_sac.types import Key, Step


class BraxEnvironment:
    """A `brax.envs.Env`, or another object of that interface, as an `Environment`.

    Such environments report one `done`, set at termination alone: their time limits come from a
    wrapper, which `Episodes` replaces. From a dictionary observation the entry "state" is used,
    which is what Playground's policies see.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        # One trace serves training and evaluation: tracing MJX takes seconds.
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        # `env.observation_size` would run Brax's reset one operation at a time, most of a minute.
        state = reset_shape(self._reset)
        if hasattr(state.obs, "keys") and "state" not in state.obs:
            found = ", ".join(state.obs)
            raise UsageError(f"env: observations are a dictionary without 'state' ({found})")
        shape = _observation(state).shape
        if len(shape) != 1:
            raise UsageError(f"env: observations have shape {shape}; only flat ones can be used")
        self.observation_size = int(shape[0])
        self.action_size = int(env.action_size)

    def reset(self, key: Key) -> State:
        inner = self._reset(key)
        return State(_observation(inner), inner)

    def step(self, state: State, action: jax.Array) -> tuple[State, Step]:
        inner = self._step(state.inner, action)
        observation = _observation(inner)
        step = Step(observation, inner.reward, inner.done > 0.5, jnp.zeros_like(inner.done, bool))
        return State(observation, inner), step


def _observation(inner: Any) -> jax.Array:
    return inner.obs["state"] if hasattr(inner.obs, "keys") else inner.obs


def make(name: str, backend: str) -> BraxEnvironment:
    """Return Brax's environment `name` on the physics engine `backend`."""
    # Brax warns at every model load that its engines are no longer developed; MJX prints that
    # it found no `warp`.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import brax.envs

        kwargs = {} if name == "fast" else {"backend": backend}
        return BraxEnvironment(brax.envs.get_environment(name, **kwargs))
