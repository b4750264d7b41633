"""Adapter for Brax's environments, and for others with Brax's interface, such as Playground's."""

# pyright: basic
import contextlib
import inspect
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError
from mjx_sac.envs import options, randomization
from mjx_sac.envs.base import State, reset_shape
from mjx_sac.envs.randomization import Model
from mjx_sac.types import Key, Step

WRAPPERS = ("brax.envs.wrappers.training", "mujoco_playground._src.wrapper")
"""Modules of the wrappers that Brax's own training puts around an environment."""


class BraxEnvironment:
    """A `brax.envs.Env`, or another object of that interface, as an `Environment`.

    Such environments report one `done`, set at termination alone: their time limits come from a
    wrapper, which `Episodes` replaces, and which gives `time_limit`. Where one lies deeper,
    `info["truncation"]` says what was no termination.

    Attributes:
      env_config: all values that configure it, by name, where these are known.
    """

    env_config: dict[str, Any] | None = None

    def __init__(
        self, env: Any, randomize: tuple[str, Callable[..., Any] | None] | None = None
    ) -> None:
        """Adapt `env`; `randomize` is what `domain_randomization` says, and the task's own."""
        self.env, limit = _unwrapped(env)
        # One trace serves training and evaluation: tracing MJX takes seconds.
        self._reset, self._step = jax.jit(self.env.reset), jax.jit(self.env.step)
        if randomize:
            self._randomize(*randomize)
        # `env.observation_size` would run Brax's reset one operation at a time, most of a minute.
        state = reset_shape(self._reset)
        if state.reward.shape != ():
            problem = f"rewards have shape {state.reward.shape}, observations a batch axis"
            raise UsageError(f"env: {problem}: return one environment, without that wrapper")
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
        self.observation_size = sum(int(x.size) for x in jax.tree.leaves(state.obs))
        self.action_size = int(self.env.action_size)

    def _randomize(self, label: str, own: Callable[..., Any] | None) -> None:
        function = randomization.function(label, type(self.env).__name__, own)
        randomizer = randomization.Randomizer(self.env, label, function)

        def reset(key: Key, model: Model | None = None) -> Any:
            return randomizer.put(self.env, model).reset(key)

        def step(inner: Any, action: jax.Array, model: Model | None = None) -> Any:
            return randomizer.put(self.env, model).step(inner, action)

        self.randomize, self._reset, self._step = randomizer.draw, jax.jit(reset), jax.jit(step)

    def reset(self, key: Key, *model: Model) -> State:
        inner = self._reset(key, *model)
        return State(inner.obs, inner)

    def step(self, state: State, action: jax.Array, *model: Model) -> tuple[State, Step]:
        inner = self._step(state.inner, action, *model)
        done = inner.done > 0.5
        step = Step(inner.obs, inner.reward, done, jnp.zeros_like(done))
        if self._truncates:
            cut = inner.info["truncation"] > 0.5
            step = step._replace(terminated=done & ~cut, truncated=cut)
        return State(inner.obs, inner), step


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


def make(
    name: str, backend: str, given: Mapping[str, Any], randomization: str | None = None
) -> BraxEnvironment:
    """Return Brax's environment `name` on the engine `backend`; `randomization` as in `Config`."""
    randomize = (randomization, None) if randomization else None
    # Brax warns at every model load that its engines are no longer developed; MJX prints that
    # it found no `warp`.
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        import brax.envs

        kwargs = {} if name == "fast" else {"backend": backend}
        env = brax.envs.get_environment(name, **kwargs)
        if given:
            found = options.arguments(type(env)).items()
            absent = inspect.Parameter.empty
            known = {k: x for k, x in found if k != "backend" and x is not absent}
            kwargs |= options.fit(name, given, known)
            with options.taken(name, given):
                return BraxEnvironment(brax.envs.get_environment(name, **kwargs), randomize)
        return BraxEnvironment(env, randomize)
