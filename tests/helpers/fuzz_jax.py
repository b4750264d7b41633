"""The environments in JAX that `fuzz` describes."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from helpers.fuzz import LATE, Case
from helpers.fuzz_envs import do_globally, raise_named
from mjx_sac.types import Step


class State(struct.PyTreeNode):
    """As a user would write it."""

    observation: Any
    count: Any
    extra: Any


def make(case: Case) -> Any:
    """Return the environment, or what the factory returns instead."""
    fault = case.fault
    if fault.startswith("raises_in_factory"):
        raise_named(fault.replace("in_factory_", ""))
    if fault == "x64":
        jax.config.update("jax_enable_x64", True)
    if fault == "makes_none":
        return None
    if fault == "same_object":
        return _SHARED.setdefault("it", Fuzzed(case))
    if fault == "no_step":
        env = Fuzzed(case)
        return SimpleNamespace(observation_size=1, action_size=1, reset=env.reset)
    if fault == "no_size":
        env = Fuzzed(case)
        return SimpleNamespace(action_size=1, reset=env.reset, step=env.step)
    return Fuzzed(case)


_SHARED: dict[str, Any] = {}


class Fuzzed:
    """Observes its start and the steps; odd as its case says."""

    def __init__(self, case: Case) -> None:
        self._case, (size,), self._kept = case, case.observation["shape"], []
        self._size, self.action_size = size, case.action["shape"][0]
        sizes = {
            "size_larger": size + 1, "size_smaller": size - 1, "size_none": None,
            "size_text": "3", "size_negative": -1, "size_numpy": np.int64(size),
            "size_float": float(size),
        }  # fmt: skip
        self.observation_size = sizes.get(case.fault, size)
        self.action_size = 0 if case.fault == "size_zero" else self.action_size
        if case.fault == "own_limit":
            self.time_limit = 5
        if case.fault == "own_limit_wrong":
            self.time_limit = "soon"
        if case.fault == "reset_without_key":
            self.reset = lambda: None

    def reset(self, key: Any) -> Any:
        fault = self._case.fault
        if fault.startswith("raises_in_reset"):
            raise_named(fault.replace("in_reset_", ""))
        do_globally(fault)
        observation = jax.random.uniform(key, (self._size,), jnp.float32)
        if self._case.at == 0:
            observation = self._odd_observation(observation)
        if fault in ("always_nan", "always_inf"):
            observation = observation + (jnp.nan if fault == "always_nan" else jnp.inf)
        state = State(observation, jnp.int32(0), self._extra(key))
        if fault == "jax_observation_missing":
            return (state.observation, state.count)
        return state

    def _extra(self, key: Any) -> Any:
        return {
            "state_typed_key": lambda: jax.random.key(3),
            "state_weak": lambda: jnp.asarray(0.0) * 1.0,
            "state_python": lambda: (1, 2.0, True),
            "state_dtype": lambda: np.float64(3),
            "state_bool": lambda: jnp.zeros(2, bool),
            "state_empty": lambda: (jnp.zeros((0, 3)), None, {}),
            "state_uint8": lambda: jnp.zeros((2, 2), jnp.uint8),
        }.get(self._case.fault, lambda: key)()

    def step(self, state: Any, action: Any) -> Any:
        fault = self._case.fault
        action, reward = self._misbehave(state, action), jnp.float32(1.0)
        count = state.count + 1
        observation = jnp.full((self._size,), jnp.sum(action) + count, jnp.float32)
        part, _, kind = fault.partition("_")
        odd = jnp.where(count == LATE, float(kind), 0.0) if kind in ("nan", "inf") else 0.0
        reward += odd if part == "reward" else 0.0
        observation += odd if part == "observation" else 0.0
        if fault.startswith("callback"):
            reward = jax.pure_callback(self._call, jax.ShapeDtypeStruct((), jnp.float32), reward)
        if self._case.at == 1:
            observation = self._odd_observation(observation)
        new = state.replace(observation=observation, count=count)
        step = Step(observation, reward, jnp.array(False), jnp.array(False))
        plain = {"step_plain_state_only": new, "step_plain_three": (new, step, {})}
        return plain.get(fault, (self._odd_state(new), self._odd_step(step)))

    def _misbehave(self, state: Any, action: Any) -> Any:
        """Do what is odd while tracing; return the action."""
        fault = self._case.fault
        if fault.startswith("raises_in_step"):
            raise_named(fault.replace("in_step_", ""))
        if fault == "prints":
            print("printed \u4e2d" * 99)
        if fault == "debug_prints":
            jax.debug.print("step {}", state.count)
        if fault == "asks_a_tracer" and action[0] > 0:
            return None
        if fault == "leaks_a_tracer":
            self._kept.append(action)
            return self._kept[0] + action
        return action

    def _call(self, reward: Any) -> Any:
        if self._case.fault == "callback_raises":
            raise ZeroDivisionError("an odd\nmessage")
        return np.float32(1)

    def _odd_observation(self, observation: Any) -> Any:
        kind = self._case.fault.removeprefix("jax_observation_")
        return {
            "numpy": lambda: np.ones(self._size, np.float32),
            "float64": lambda: np.ones(self._size),
            "float16": lambda: observation.astype(jnp.float16),
            "int": lambda: jnp.ones(self._size, jnp.int32),
            "longer": lambda: jnp.ones(self._size + 1),
            "square": lambda: jnp.ones((1, self._size, 1)),
            "none": lambda: None,
            "text": lambda: "left",
        }.get(kind, lambda: observation)()

    def _odd_step(self, step: Step) -> Any:
        fault = self._case.fault
        if fault in ("always_terminates", "always_truncates"):
            return step._replace(**{fault[7:-1] + "d": jnp.array(True)})
        if fault.startswith("step_plain_"):
            return {
                "tuple": tuple(step), "list": list(step), "short": tuple(step)[:3], "none": None,
                "dict": step._asdict(),
            }.get(fault.removeprefix("step_plain_"), step)  # fmt: skip
        _, part, kind = fault.split("_") if fault.count("_") == 2 else ("", "", "")
        if part not in Step._fields or not fault.startswith("step_"):
            return step
        if kind == "missing":
            values = {name: x for name, x in step._asdict().items() if name != part}
            return SimpleNamespace(**values)
        odd = {
            "int": jnp.int32(0), "float": jnp.float32(0), "float64": np.float64(0), "python": 0,
            "one": jnp.zeros(1), "two": jnp.zeros(2), "none": None, "text": "much",
        }  # fmt: skip
        return step._replace(**{part: odd[kind]})

    def _odd_state(self, state: Any) -> Any:
        kind = self._case.fault
        changes = {
            "state_structure": (state.extra, state.extra), "state_shape": jnp.zeros(7),
            "state_text": "left", "state_dtype": jnp.int32(3),
        }  # fmt: skip
        return state.replace(extra=changes[kind]) if kind in changes else state
