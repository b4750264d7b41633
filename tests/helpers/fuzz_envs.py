"""The environments that `fuzz` describes."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from helpers.fuzz import LATE, Case


def space(what: dict[str, Any]) -> spaces.Space:
    """Return Gymnasium's space of a description."""
    kind = what["kind"]
    if kind == "dict" and "parts" in what:
        return spaces.Dict({f"k{i}": space(part) for i, part in enumerate(what["parts"])})
    if kind == "tuple":
        return spaces.Tuple([space(part) for part in what["parts"]])
    if kind == "box":
        return _box(what["shape"], np.dtype(what["dtype"]), what["bounds"])
    unit = spaces.Box(-1, 1, (1,))
    return {
        "discrete": lambda: spaces.Discrete(3),
        "multi_binary": lambda: spaces.MultiBinary(3),
        "text": lambda: spaces.Text(5),
        "sequence": lambda: spaces.Sequence(unit),
        "graph": lambda: spaces.Graph(unit, None),
        "image": lambda: spaces.Box(0, 255, (84, 84, 3), np.uint8),
        "nested": lambda: spaces.Dict(a=unit, b=spaces.Tuple([spaces.Discrete(2)])),
        "infinite": lambda: spaces.Box(-np.inf, np.inf, (1,)),
        "half": lambda: spaces.Box(0, np.inf, (1,)),
        "dict": lambda: spaces.Dict(a=unit),
    }[kind]()


def _box(shape: list[int], dtype: np.dtype, bounds: str) -> spaces.Box:
    inf = np.inf
    if dtype.kind == "b":
        low, high = False, bounds != "equal"
    elif np.issubdtype(dtype, np.integer):
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        low, high = {"wide": (least, most), "equal": (2, 2), "uneven": (0, 5)}.get(bounds, (1, 7))
    else:
        low, high = {
            "none": (-inf, inf), "low": (-3, inf), "high": (-inf, 3), "equal": (0.3, 0.3),
            "uneven": (-0.1, 0.7), "wide": (-6e4, 6e4),
        }.get(bounds, (-3, 3))  # fmt: skip
    return spaces.Box(np.full(shape, low, dtype), np.full(shape, high, dtype), dtype=dtype)


def case_here() -> Case:
    """Return the case that this process, or the one that started it, plays."""
    return Case(**json.loads(os.environ["FUZZ_CASE"]))


def make() -> Any:
    """Return the environment of `case_here`; the factory of all ways."""
    case = case_here()
    if case.kind == "jax":
        from helpers import fuzz_jax

        return fuzz_jax.make(case)
    if case.at == -1:
        raise_named(case.fault)
    if case.fault == "one_instance":
        return _SHARED.setdefault("it", Fuzzed(case))
    made = {
        "makes_none": lambda: None,
        "makes_vector": lambda: gymnasium.vector.SyncVectorEnv([lambda: Fuzzed(case)]),
        "time_limit": lambda: gymnasium.wrappers.TimeLimit(Fuzzed(case), 5),
        "autoreset": lambda: gymnasium.wrappers.Autoreset(Fuzzed(case)),
        "own_class": lambda: _Own(Fuzzed(case)),
    }.get(case.fault, lambda: Fuzzed(case))()
    if case.fault == "x64":
        import jax

        jax.config.update("jax_enable_x64", True)
    return made


_SHARED: dict[str, Any] = {}
_COUNT = iter(range(10**6))


gymnasium.register("Fuzz-v0", entry_point=make)


class SilentError(Exception):
    """Says nothing."""

    def __str__(self) -> str:
        return ""


def raise_named(fault: str) -> None:
    """Raise what is named at the end of `raises_...`, and nothing for other faults."""
    if not fault.startswith(("raises_", "closes_")):
        return
    name = fault.rpartition("_")[2]
    if name == "Silent":
        raise SilentError
    if name == "SystemExit":
        raise SystemExit(0)  # as if all were well
    kinds = (Exception, RuntimeError, KeyError, StopIteration, KeyboardInterrupt)
    raise {kind.__name__: kind for kind in kinds}[name]("an odd\nmessage: ä")


class _Own:
    """Has Gymnasium's methods and spaces, and is none of its classes."""

    def __init__(self, env: Any) -> None:
        self.reset, self.step, self.close = env.reset, env.step, env.close
        self.observation_space, self.action_space = env.observation_space, env.action_space


class Fuzzed(gymnasium.Env):
    """Observes a walk over its space; odd as its case says."""

    def __init__(self, case: Case) -> None:
        self._case, self._steps, self._number = case, 0, next(_COUNT)
        self.observation_space, self.action_space = space(case.observation), space(case.action)
        self._kept: list[tuple[Any, Any]] = []
        self._child: subprocess.Popen[bytes] | None = None
        if case.fault == "other_spaces" and self._number:
            self.observation_space = spaces.Box(-1, 1, (5,))
        if case.fault == "other_spaces" and multiprocessing.parent_process():
            self.observation_space = spaces.Box(-1, 1, (5,))
        if case.fault == "foreign_spaces":
            self.observation_space = SimpleNamespace(shape=(1,), low=-1, high=1, dtype="float32")
        if case.fault == "no_spaces":
            del self.observation_space
        # What an example left in the trainer's own process would be nobody's to kill.
        alone = multiprocessing.parent_process() is not None
        if case.fault == "child" or (case.fault == "orphan" and alone):
            self._child = subprocess.Popen(["sleep", "1000"])
            with pathlib.Path(os.environ["FUZZ_CHILDREN"]).open("a") as file:
                file.write(f"{self._child.pid}\n")
        self._buffer = self.observation_space.sample() if case.fault not in _SPACELESS else None

    def _shows(self, at: int) -> bool:
        """Return whether the fault shows at step `at`: late ones once, early ones from then on."""
        own = self._case.at
        return at == own if own == LATE else 0 <= own <= at

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self._case.fault == "reset_no_seed" and seed is not None:
            raise TypeError("reset() got an unexpected keyword argument 'seed'")
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        shows = self._case.at == 0
        if shows:
            self._misbehave(None)
        observation = self._observe(shows)
        if self._case.fault.startswith("reset_"):
            kind = self._case.fault.removeprefix("reset_")
            odd = {"bare": observation, "none": None, "three": (observation, {}, 0)}
            return odd.get(kind, (observation, {}))
        return observation, {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"action {action!r} is outside its space"
        self._steps += 1
        shows = self._shows(self._steps)
        if shows:
            self._misbehave(action)
        for kept, then in self._kept:
            assert np.array_equal(kept, then), "an action that was kept has changed"
        result = (self._observe(shows), 1.0, False, False, {})
        return self._odd(result) if shows else result

    def close(self) -> None:
        if self._child and self._case.fault == "child":
            self._child.kill()
            self._child.wait()
        if self._case.at == 99:
            raise_named(self._case.fault)
            if self._case.fault == "hangs_in_close":
                time.sleep(1000)

    def _observe(self, shows: bool) -> Any:
        prefix, _, fault = self._case.fault.partition("_")
        if self._case.fault == "keeps_observation" and shows:
            return self._buffer
        if prefix not in ("observation", "always") or not shows:
            return finite(self.observation_space.sample())
        observation = finite(self.observation_space.sample())
        if fault in ("none", "text", "object"):
            return {"none": None, "text": "left", "object": object()}[fault]
        return _map(lambda part: ODD_OBSERVATIONS[fault](np.asarray(part)), observation)

    def _odd(self, result: tuple[Any, ...]) -> Any:
        """Return what `step` returns instead of `result`."""
        part, _, kind = self._case.fault.partition("_")
        if part == "step":
            return {"four": result[:4], "six": (*result, 0), "none": None}[kind]
        if self._case.fault == "info_none":
            return (*result[:4], None)
        if part not in ("reward", "terminated", "truncated"):
            return result
        index = {"reward": 1, "terminated": 2, "truncated": 3}[part]
        values = ODD_REWARDS if part == "reward" else ODD_FLAGS
        return (*result[:index], values[kind], *result[index + 1 :])

    def _misbehave(self, action: Any) -> None:
        """Do what is odd beside what is returned."""
        fault = self._case.fault
        if fault == "prints" or fault == "prints_to_files":
            _print(to_files=fault == "prints_to_files")
        elif fault == "changes_action" and isinstance(action, np.ndarray):
            with contextlib.suppress(ValueError, TypeError):
                action[...] = 0
        elif fault == "keeps_action":
            self._kept.append((action, np.copy(action)))
        elif fault == "changes_spaces":
            self.action_space = spaces.Box(-1, 1, (7,))
        elif fault == "slow":
            time.sleep(6)
        elif fault in ("dies", "is_killed") and multiprocessing.parent_process():
            if fault == "dies":
                os._exit(7)
            os.kill(os.getpid(), 9)
        else:
            do_globally(fault)
        raise_named(fault)


_SPACELESS = ("foreign_spaces", "no_spaces")


def do_globally(fault: str) -> None:
    """Do what touches more than the environment."""
    if fault == "warns":
        warnings.warn("an odd\nwarning", stacklevel=1)
    elif fault == "global_random":
        np.random.seed(0)
    elif fault == "seterr":
        np.seterr(all="raise")
    elif fault == "chdir":
        os.chdir("/")


def _print(to_files: bool) -> None:
    text = "printed \x1b[31m\u4e2d\u00e4\u0000 {%s} \\n" * 50
    if to_files:
        os.write(1, b"\xff\xfe" + text.encode() + b"\n")
        os.write(2, b"\xff\xfe" + text.encode() + b"\n")
    else:
        print(text)
        print(text, file=sys.stderr)


def _map(function: Any, observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: _map(function, part) for key, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_map(function, part) for part in observation)
    return function(observation)


def finite(observation: Any) -> Any:
    """Half precision's samples of an unbounded space may overflow."""
    return _map(lambda part: np.nan_to_num(part, posinf=1, neginf=-1), observation)


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


ODD_OBSERVATIONS = {
    "dtype": lambda x: x.astype(np.float64),
    "list": lambda x: x.tolist(),
    "integers": lambda x: np.zeros(x.shape, np.int64),
    "read_only": _read_only,
    "outside": lambda x: np.full(x.shape, 1e6),
    "longer": lambda x: np.zeros(x.size + 1, np.float32),
    "shorter": lambda x: np.zeros(x.size - 1, np.float32),
    "longer_column": lambda x: np.zeros((x.size + 2, 1), np.float32),
    "nan": lambda x: np.full(x.shape, np.nan, np.float32),
    "inf": lambda x: np.full(x.shape, -np.inf, np.float32),
}
ODD_REWARDS = {
    "int": 1, "float64": np.float64(1), "float16": np.float16(1), "bool": True,
    "one": np.ones(1), "huge": 1e300, "two": np.ones(2), "none": None, "text": "much",
    "nan": float("nan"), "inf": np.inf,
}  # fmt: skip
ODD_FLAGS = {
    "numpy": np.bool_(False), "int": 0, "one": np.zeros(1, bool), "always": True,
    "two": np.zeros(2, bool), "none": None, "text": "no",
}  # fmt: skip
