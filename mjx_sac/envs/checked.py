"""What an environment on the device returns, checked once, before anything is compiled."""

# pyright: basic
import contextlib
import inspect
import operator
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError, with_line
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
    with _one_line(name, env, "reset"):
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
        with contextlib.suppress(TypeError):
            if operator.index(value) > 0:
                return operator.index(value)
        raise self._wrong(f"{field} is {value!r}: make it a whole number above 0")

    def _wrong(self, problem: str) -> UsageError:
        return UsageError(f"{self._label}: {problem}")

    def _trace_reset(self, key: Key) -> Any:
        state = self._env.reset(key)
        leaves = self._leaves("reset", state)
        self._structure = jax.tree.structure(state)
        self._dtypes = [(x.shape, x.dtype) for x in leaves]
        self._keys = [jax.random.key_impl(x) if _is_key(x.dtype) else None for x in leaves]
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
        numbers = [self._numbers(field, getattr(step, field)) for field in Step._fields]
        types = (jnp.float32, jnp.float32, bool, bool)
        return state, Step(*map(jnp.asarray, numbers, types))

    def _leaves(self, method: str, state: Any) -> list[jax.Array]:
        """Return the arrays of a state, never with weak types, which would be traced again."""
        leaves = []
        for path, x in jax.tree.leaves_with_path(state):
            x = _array(x)
            if x is None:
                where = f"{method}: state{jax.tree_util.keystr(path)}"
                raise self._wrong(f"{where} is no array: a state is a pytree of arrays")
            leaves.append(x if _is_key(x.dtype) else jnp.asarray(x, x.dtype))
        return leaves

    def _alike(self, state: Any) -> list[jax.Array]:
        """Return a state's arrays with the types that `reset` has: a loop's state keeps them."""
        leaves = self._leaves("step", state)
        if jax.tree.structure(state) != self._structure:
            raise self._wrong(
                "state has another structure after step than after reset: make it one"
            )
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
        for path, x, (shape, dtype) in zip(paths, leaves, self._dtypes, strict=True):
            if x.shape != shape:
                change = f"has shape {x.shape} after step, {shape} after reset"
            elif not _becomes(x.dtype, dtype):
                change = f"is {x.dtype} after step, {dtype} after reset"
            else:
                continue
            raise self._wrong(f"state{path} {change}: make them equal")
        return [
            x if _is_key(dtype) else jnp.asarray(x, dtype)
            for x, (_, dtype) in zip(leaves, self._dtypes, strict=True)
        ]

    def _stored(self, method: str, leaves: list[jax.Array]) -> Any:
        """Return the state with raw keys, if it has an observation."""
        raw = [jax.random.key_data(x) if _is_key(x.dtype) else x for x in leaves]
        state = jax.tree.unflatten(self._structure, raw)
        observation = getattr(state, "observation", None)
        if not isinstance(observation, jax.Array):
            found = f"{method}: its state, a {type(state).__name__}, has no array `observation`"
            raise self._wrong(f"{found}: mjx_sac.envs.base.State has one")
        self._numbers("observation", observation, f"{method}: state.observation")
        return state

    def _numbers(self, field: str, value: Any, where: str | None = None) -> jax.Array:
        """Return a field of `Step`, or a state's observation, in the shape it must have."""
        shape = (self.observation_size,) if field == "observation" else ()
        x, where = _array(value), where or f"step: Step.{field}"
        if x is None or not _is_real(x.dtype):
            found = type(value).__name__ if x is None else x.dtype
            raise self._wrong(f"{where} is {found}: make it an array of numbers")
        if x.shape != shape and (shape or x.size != 1):
            announced = f", and observation_size {self.observation_size}" if shape else ""
            raise self._wrong(f"{where} has shape {x.shape}{announced}: make it {shape}")
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


def _is_key(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_))


def _becomes(new: Any, old: Any) -> bool:
    """Return whether `old` can take the numbers of `new`: no fractions as integers, no keys."""
    real = _is_real(new) and _is_real(old)
    return new == old or (
        real and (jnp.issubdtype(old, jnp.inexact) or not jnp.issubdtype(new, jnp.inexact))
    )
