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

WRAPPERS = ("brax.envs.wrappers.training", "mujoco_playground._src.wrapper")
"""Modules of the wrappers that Brax's own training puts around an environment."""


class BraxEnvironment:
    """A `brax.envs.Env`, or another object of that interface, as an `Environment`.

    Such environments report one `done`, set at termination alone: their time limits come from a
    wrapper, which `Episodes` replaces, and which gives `time_limit`. Where one lies deeper,
    `info["truncation"]` says what was no termination. From a dictionary observation the entry
    "state" is used, which is what Playground's policies see.
    """

    def __init__(self, env: Any) -> None:
        self.env, limit = _unwrapped(env)
        # One trace serves training and evaluation: tracing MJX takes seconds.
        self._reset, self._step = jax.jit(self.env.reset), jax.jit(self.env.step)
        # `env.observation_size` would run Brax's reset one operation at a time, most of a minute.
        state = reset_shape(self._reset)
        if hasattr(state.obs, "keys") and "state" not in state.obs:
            found = ", ".join(state.obs)
            raise UsageError(f"env: observations are a dictionary without 'state' ({found})")
        shape = _observation(state).shape
        if len(shape) != 1:
            wanted = "flat ones of one environment, without a batch axis"
            raise UsageError(f"env: observations have shape {shape}: only {wanted}, can be used")
        info = getattr(state, "info", None) or {}
        if own := [key for key in info if key.endswith(("first_obs", "first_state"))]:
            problem = f"resets itself (info[{own[0]!r}])"
            raise UsageError(f"env: {problem}: return it without that wrapper")
        self._truncates = "truncation" in info
        # Its own, that of a wrapper which lies deeper, or that of Playground's configuration.
        config = getattr(self.env, "_config", None)
        names = (self.env, "time_limit"), (self.env, "episode_length"), (config, "episode_length")
        limits = [limit, *(getattr(*name, None) for name in names)]
        self.time_limit = next((x for x in limits if isinstance(x, int)), None)
        self.observation_size = int(shape[0])
        self.action_size = int(self.env.action_size)

    def reset(self, key: Key) -> State:
        inner = self._reset(key)
        return State(_observation(inner), inner)

    def step(self, state: State, action: jax.Array) -> tuple[State, Step]:
        inner = self._step(state.inner, action)
        observation, done = _observation(inner), inner.done > 0.5
        step = Step(observation, inner.reward, done, jnp.zeros_like(done))
        if self._truncates:
            cut = inner.info["truncation"] > 0.5
            step = step._replace(terminated=done & ~cut, truncated=cut)
        return State(observation, inner), step


def _unwrapped(env: Any) -> tuple[Any, int | None]:
    """Return `env` without the wrappers of Brax's own training, and the time limit they had.

    Raises:
      UsageError: one of them does what cannot be done here.
    """
    limit = None
    while type(env).__module__ in WRAPPERS:
        name, own = type(env).__name__, vars(env)
        if "DomainRandomization" in name:
            raise UsageError(f"env: {name} is not supported: return the environment without it")
        if own.get("action_repeat", 1) != 1:
            repeat = own["action_repeat"]
            raise UsageError(f"env: {name} repeats actions: leave it to --action_repeat {repeat}")
        env, limit = env.env, own.get("episode_length", limit)
    return env, limit


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
