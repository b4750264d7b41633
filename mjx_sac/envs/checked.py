"""What an environment on the device returns, checked once, before anything is compiled."""

# pyright: basic
import contextlib
import inspect
import numbers
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError, ordinary_jax, with_line
from mjx_sac.envs.base import Environment, physics_precision, reset_shape
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.types import Key, Step


def adapt(name: str, env: Any) -> "CheckedEnvironment":
    """Return the environment called `name` as the trainer takes it: ours, or of Brax's interface.

    Raises:
      UsageError: it is none, or returns what cannot be trained on.
    """
    if isinstance(env, CheckedEnvironment):
        return env
    # Look at the type: Brax's `observation_size` is a property that would run a reset.
    brax = ("unwrapped", "observation_size", "action_size")
    # The environment's modules may have changed JAX's settings.
    with ordinary_jax(), _one_line(name, env, "reset"):
        if all(hasattr(type(env), attribute) for attribute in brax):
            env = BraxEnvironment(env)
        if not isinstance(env, Environment):
            needed = "it needs observation_size, action_size, reset, step"
            raise UsageError(f"env = {name!r}: {type(env).__name__} is no environment: {needed}")
        return CheckedEnvironment(name, env)


class CheckedEnvironment:
    """An `Environment` whose `reset` and `step` have returned what the protocol says.

    Each is traced once, with physics at its precision: for this check, training, evaluation and
    recording. Harmless things are made alike, such as a reward of shape (1,) or of integers. Typed
    PRNG keys are kept as raw ones in the state, which a checkpoint can hold. All other attributes
    are the environment's own.
    """

    def __init__(self, name: str, env: Any, *, trusted: bool = False) -> None:
        """Trace `reset`, and `step` unless it is `trusted`: MJX's takes seconds."""
        self._env, own = env, env.env if isinstance(env, BraxEnvironment) else env
        self._label = f"env = {name!r}: {type(own).__name__}"
        self.observation_size = self._size("observation_size")
        self.action_size = self._size("action_size")
        if getattr(env, "time_limit", None) is not None:
            self.time_limit = self._size("time_limit")
        self._reset, self._step = jax.jit(self._trace_reset), jax.jit(self._trace_step)
        action = jax.ShapeDtypeStruct((self.action_size,), jnp.float32)
        with _one_line(name, own, "reset"):
            state = reset_shape(self._reset)
        if not trusted:
            with _one_line(name, own, "step"):
                jax.eval_shape(self.step, state, action)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, key: Key) -> Any:
        with physics_precision():
            return self._reset(key)

    def step(self, state: Any, action: jax.Array) -> tuple[Any, Step]:
        with physics_precision():
            return self._step(state, action)

    def _size(self, field: str) -> int:
        value = getattr(self._env, field)
        if not isinstance(value, numbers.Integral) or value < 1:
            raise self._wrong(f"{field} is {value!r}: make it a whole number above 0")
        return int(value)

    def _wrong(self, problem: str) -> UsageError:
        return UsageError(f"{self._label}: {problem}")

    def _trace_reset(self, key: Key) -> Any:
        state = self._env.reset(key)
        leaves = self._leaves("reset", state).values()
        self._structure, self._types = jax.tree.structure(state), [jax.typeof(x) for x in leaves]
        self._keys = [jax.random.key_impl(x) if _is_key(x) else None for x in leaves]
        return self._stored("reset", leaves)

    def _trace_step(self, state: Any, action: jax.Array) -> tuple[Any, Step]:
        own = [
            x if impl is None else jax.random.wrap_key_data(x, impl=impl)
            for x, impl in zip(jax.tree.leaves(state), self._keys, strict=True)
        ]
        returned = self._env.step(jax.tree.unflatten(self._structure, own), action)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise self._wrong(f"step returns a {type(returned).__name__}: make it (state, Step)")
        new, step = returned
        if not all(hasattr(step, field) for field in Step._fields):
            wanted = f"mjx_sac.types.Step({', '.join(Step._fields)})"
            raise self._wrong(f"step returns a {type(step).__name__} as second: make it {wanted}")
        state = self._stored("step", self._alike(new))
        values = [self._numbers(f"step: Step.{name}", getattr(step, name)) for name in Step._fields]
        return state, Step(*map(jnp.asarray, values, (jnp.float32, jnp.float32, bool, bool)))

    def _leaves(self, method: str, state: Any) -> dict[str, jax.Array]:
        """Return a state's arrays, never with weak types, which would be traced again."""
        leaves = {}
        for path, value in jax.tree.leaves_with_path(state):
            name, x = f"state{jax.tree_util.keystr(path)}", _array(value)
            if x is None:
                raise self._wrong(f"{method}: {name} is no array: a state is a pytree of arrays")
            leaves[name] = x if _is_key(x) else jnp.asarray(x, x.dtype)
        return leaves

    def _alike(self, state: Any) -> list[jax.Array]:
        """Return a state's arrays with the types that `reset` has: a loop's state keeps them."""
        leaves = self._leaves("step", state)
        if jax.tree.structure(state) != self._structure:
            raise self._wrong(
                "state has another structure after step than after reset: make it one"
            )
        for (name, x), first in zip(leaves.items(), self._types, strict=True):
            if x.shape != first.shape or not _becomes(x.dtype, first.dtype):
                change = f"is {jax.typeof(x)} after step, {first} after reset"
                raise self._wrong(f"{name} {change}: make them equal")
            leaves[name] = x if _is_key(x) else jnp.asarray(x, first.dtype)
        return [*leaves.values()]

    def _stored(self, method: str, leaves: Iterable[jax.Array]) -> Any:
        """Return the state with raw keys, if it has an observation."""
        raw = [jax.random.key_data(x) if _is_key(x) else x for x in leaves]
        state, name = jax.tree.unflatten(self._structure, raw), f"{method}: state.observation"
        observation = getattr(state, "observation", None)
        if not isinstance(observation, jax.Array):
            raise self._wrong(f"{name} is {type(observation).__name__}: make it an array")
        self._numbers(name, observation)
        return state

    def _numbers(self, name: str, value: Any) -> jax.Array:
        """Return a field of `Step`, or a state's observation, in the shape it must have."""
        shape = (self.observation_size,) if name.endswith("observation") else ()
        x = _array(value)
        if x is None or not _is_real(x.dtype):
            found = type(value).__name__ if x is None else x.dtype
            raise self._wrong(f"{name} is {found}: make it an array of numbers")
        if x.shape != shape and (shape or x.size != 1):
            announced = f", and observation_size {self.observation_size}" if shape else ""
            raise self._wrong(f"{name} has shape {x.shape}{announced}: make it {shape}")
        return x.reshape(shape)


@contextlib.contextmanager
def _one_line(name: str, env: Any, method: str) -> Iterator[None]:
    """Say in one line what fails in `method`, with the line of the file that it stands in."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        function: Any = getattr(env, method, None)
        code = getattr(inspect.unwrap(function), "__code__", None)
        what = f"env = {name!r}: {type(env).__name__}: {method}"
        raise UsageError(f"{what}: {with_line(error, code and code.co_filename)}") from error


def _array(x: Any) -> jax.Array | None:
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        return None


def _is_key(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_))


def _becomes(new: Any, old: Any) -> bool:
    """Return whether `old` can take numbers of type `new`: integers take no fractions."""
    rounds = jnp.issubdtype(new, jnp.floating) and not jnp.issubdtype(old, jnp.floating)
    return new == old or (_is_real(new) and _is_real(old) and not rounds)
