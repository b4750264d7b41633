"""What an environment on the device returns, checked once, before anything is compiled."""

# pyright: basic
import contextlib
import inspect
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from mjx_sac.config import Config, UsageError, ordinary_jax, with_line
from mjx_sac.envs import randomization, slices, views
from mjx_sac.envs.base import Environment, physics_precision, reset_shape
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.views import Views
from mjx_sac.types import Key, Step, named_leaves


def adapt(name: str, env: Any, config: Config | None = None) -> "CheckedEnvironment":
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
            label = config.domain_randomization if config else None
            env = BraxEnvironment(env, (label, None) if label else None)
        if not isinstance(env, Environment):
            needed = "it needs observation_size, action_size, reset, step"
            raise UsageError(f"env = {name!r}: {type(env).__name__} is no environment: {needed}")
        return CheckedEnvironment(name, env, config)


class InParts(struct.PyTreeNode):
    """A state whose observation has parts, made flat; other attributes are the state's own."""

    observation: Float[Array, " observation"]
    own: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "own":
            raise AttributeError(name)
        return getattr(self.own, name)


class CheckedEnvironment:
    """An `Environment` whose `reset` and `step` have returned what the protocol says.

    Each is traced once, with physics at its precision: for this check, training, evaluation and
    recording. Harmless things are made alike, such as a reward of shape (1,) or of integers. Typed
    PRNG keys are kept as raw ones in the state, which a checkpoint can hold. Observations in parts
    become flat ones. All other attributes are the environment's own.

    Attributes:
      views: what actor and critics see of observations in parts; None where they have none.
      randomize: what draws models, where that is asked for; None otherwise.
    """

    views: Views | None = None

    def __init__(
        self, name: str, env: Any, config: Config | None = None, *, trusted: bool = False
    ) -> None:
        """Trace `reset`, and `step` unless it is `trusted`: MJX's takes seconds."""
        self._env, own = env, env.env if isinstance(env, BraxEnvironment) else env
        config, self._name, self._looked = config or Config(), name, False
        self._seen = config.actor_observation, config.critic_observation
        self._label = f"env = {name!r}: {type(own).__name__}"
        self.observation_size = self._size("observation_size")
        self.action_size = self._size("action_size")
        if getattr(env, "time_limit", None) is not None:
            self.time_limit = self._size("time_limit")
        self.randomize = self._randomizer(config.domain_randomization)
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

    def reset(self, key: Key, *model: Any) -> Any:
        with physics_precision():
            return self._reset(key, *model)

    def step(self, state: Any, action: jax.Array, *model: Any) -> tuple[Any, Step]:
        with physics_precision():
            return self._step(state, action, *model)

    def _size(self, field: str) -> int:
        value = getattr(self._env, field)
        if not isinstance(value, numbers.Integral) or value < 1:
            raise self._wrong(f"{field} is {value!r}: make it a whole number above 0")
        return int(value)

    def _randomizer(self, label: str | None) -> Any:
        own = getattr(self._env, "randomize", None)
        ours = isinstance(self._env, BraxEnvironment) or label == randomization.DEFAULT
        if label and not (own and ours):
            problem = f"{self._name} has no method randomize" if ours else "is Brax's way"
            raise UsageError(f"domain_randomization = {label!r}: {problem}: leave it out")
        return own if label else None

    def _wrong(self, problem: str) -> UsageError:
        return UsageError(f"{self._label}: {problem}")

    def _trace_reset(self, key: Key, *model: Any) -> Any:
        state = self._env.reset(key, *model)
        leaves = self._leaves("reset", state).values()
        if not self._looked:
            self._look_at(getattr(state, "observation", None))
        self._structure, self._types = jax.tree.structure(state), [jax.typeof(x) for x in leaves]
        self._keys = [jax.random.key_impl(x) if _is_key(x) else None for x in leaves]
        return self._stored("reset", leaves)

    def _trace_step(self, state: Any, action: jax.Array, *model: Any) -> tuple[Any, Step]:
        state = state.own if self.views else state
        own = [
            x if impl is None else jax.random.wrap_key_data(x, impl=impl)
            for x, impl in zip(jax.tree.leaves(state), self._keys, strict=True)
        ]
        returned = self._env.step(jax.tree.unflatten(self._structure, own), action, *model)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise self._wrong(f"step returns a {type(returned).__name__}: make it (state, Step)")
        new, step = returned
        if not all(hasattr(step, field) for field in Step._fields):
            wanted = f"mjx_sac.types.Step({', '.join(Step._fields)})"
            raise self._wrong(f"step returns a {type(step).__name__} as second: make it {wanted}")
        state = self._stored("step", self._alike(new))
        observation, *others = Step._fields
        flat = self._flat(f"step: Step.{observation}", step.observation)
        values = [self._numbers(f"step: Step.{name}", getattr(step, name), ()) for name in others]
        types = jnp.float32, jnp.float32, bool, bool
        return state, Step(*map(jnp.asarray, (flat, *values), types))

    def _look_at(self, observation: Any) -> None:
        """Find out what observations consist of, and who sees what."""
        self._looked = True
        if not isinstance(observation, Mapping | tuple):
            return views.refuse(self._name, *self._seen)
        self._shapes = {name: jnp.shape(x) for name, x in named_leaves(observation)}
        if (n := sum(map(math.prod, self._shapes.values()))) != self.observation_size:
            problem = f"observations have {n} numbers, observation_size is {self.observation_size}"
            raise self._wrong(f"{problem}: make them equal")
        key, state = jax.ShapeDtypeStruct((2,), jnp.uint32), reset_shape(self._env.reset)
        action = jax.ShapeDtypeStruct((self.action_size,), jnp.float32)
        first = slices.find(lambda key: self._env.reset(key).observation, key)
        later = slices.find(lambda *given: self._env.step(*given)[1].observation, state, action)
        always = {name: dict(first[name].items() & later.get(name, {}).items()) for name in first}
        self.views = seen = views.choose(self._name, self._shapes, *self._seen, always)
        self.observation_size, self.spaces = seen.size, seen.spaces()

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
            problem = "state has another structure after step than after reset"
            raise self._wrong(f"{problem}: make it one")
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
        if self.views:
            return InParts(self._flat(name, observation), state)
        if not isinstance(observation, jax.Array):
            raise self._wrong(f"{name} is {type(observation).__name__}: make it an array")
        self._flat(name, observation)
        return state

    def _flat(self, name: str, observation: Any) -> jax.Array:
        if not self.views:
            return self._numbers(name, observation, (self.observation_size,))
        found = dict(named_leaves(observation))
        if found.keys() != self._shapes.keys():
            others = f"parts {', '.join(found)}, after reset {', '.join(self._shapes)}"
            raise self._wrong(f"{name} has {others}: make them equal")
        rows = [
            self._numbers(f"{name}.{part}", found[part], self._shapes[part]).ravel()
            for part in self.views.parts
        ]
        return jnp.concatenate([jnp.asarray(row, jnp.float32) for row in rows])

    def _numbers(self, name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
        """Return numbers in the shape that they must have."""
        x = _array(value)
        if x is None or not _is_real(x.dtype):
            found = type(value).__name__ if x is None else x.dtype
            raise self._wrong(f"{name} is {found}: make it an array of numbers")
        if x.shape != shape and (shape or x.size != 1):
            size = f", and observation_size {self.observation_size}"
            announced = size if shape and not self.views else ""
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
        what = f"env = {name!r}: {type(env).__name__}: {method}"
        raise UsageError(f"{what}: {with_line(error, inspect.unwrap(function))}") from error


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
