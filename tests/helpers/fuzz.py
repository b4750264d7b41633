"""Environments described at random, each odd in at most one way, and what must become of them.

A description is a `Case`: plain data, drawn from a seed and an index, so that one can be repeated.
`fuzz_envs` makes the environment, `fuzz_commands` trains, evaluates, exports and predicts, and
`fuzz_driver` does so for many and judges.
"""

import json
from typing import Any, NamedTuple

import numpy as np

SIZES = {
    "num_envs": 2, "hidden_sizes": 4, "batch_size": 4, "buffer_size": 64, "iterations": 40,
    "warm_up_steps": 10, "log_interval": 20, "checkpoint_interval": 20, "episodes_per_eval": 1,
    "episode_length": 8, "max_to_keep": 1, "reset_pool_size": 2,
}  # fmt: skip
"""Of every run, as flags. An environment takes 20 steps in training and 8 in an evaluation."""

LATE = 6
"""The step of an environment's life at which late faults show: after the first reset, and within
the only episode of `mjx-sac eval`."""

WORKS, REFUSED, FAILED = frozenset({0}), frozenset({2}), frozenset({3})
ANY = WORKS | REFUSED | FAILED


class Fault(NamedTuple):
    """What an environment does wrong, or differently.

    Attributes:
      kinds: environments that it can befall.
      codes: exit codes that are right; None stands for 2 before the first epoch and 3 after it.
      phrase: what the one line says, where it must be there.
      at: steps of the environment's life at which it may show, see `MADE` and so on.
    """

    kinds: tuple[str, ...]
    codes: frozenset[int] | None
    phrase: str
    at: tuple[int, ...]


GYM, JAX = ("sync", "async"), ("jax",)
BOTH = (*GYM, *JAX)
MADE, RESET, FIRST, CLOSED = -1, 0, 1, 99
ALWAYS, STEPS = (RESET, FIRST, LATE), (FIRST, LATE)
ERRORS = "Exception RuntimeError KeyError StopIteration SystemExit Silent"
"""Raised by name; `Silent` is an error without a message."""

_ROWS: tuple[tuple[str, str, tuple[str, ...], frozenset[int] | None, str, tuple[int, ...]], ...] = (
    # Gymnasium's: what is raised, ...
    ("raises_", ERRORS, GYM, None, "{name}", (MADE, *ALWAYS)),
    ("raises_", "KeyboardInterrupt", GYM, frozenset({2, 3, 130}), "", ALWAYS),
    ("closes_", "Exception Silent SystemExit", GYM, WORKS, "", (CLOSED,)),
    # ... returned, ...
    ("observation_", "dtype list integers read_only outside", GYM, WORKS, "", ALWAYS),
    ("observation_", "longer shorter none text object longer_column", GYM, None, "return", ALWAYS),
    ("observation_", "nan inf", BOTH, WORKS, "", (LATE,)),
    ("reward_", "nan inf", BOTH, WORKS, "", (LATE,)),
    ("always_", "nan inf", BOTH, FAILED | REFUSED, "finite", (RESET,)),
    ("reward_", "int float64 float16 bool one", GYM, WORKS, "", STEPS),
    ("reward_", "huge", GYM, WORKS, "", (LATE,)),
    ("terminated_", "numpy int one always", GYM, WORKS, "", STEPS),
    ("truncated_", "numpy int one always", GYM, WORKS, "", STEPS),
    ("reward_", "two none text", GYM, None, "reward", STEPS),
    ("terminated_", "two none text", GYM, None, "terminated", STEPS),
    ("truncated_", "two none text", GYM, None, "truncated", STEPS),
    ("step_", "four six none", GYM, None, "from step", STEPS),
    ("reset_", "bare none three", GYM, REFUSED, "from reset", (RESET,)),
    ("reset_", "no_seed", GYM, REFUSED, "seed", (RESET,)),
    ("info_", "none", GYM, ANY, "", STEPS),
    # ... done beside, ...
    ("", "prints global_random chdir", BOTH, WORKS, "", ALWAYS),
    ("", "prints_to_files warns seterr keeps_observation", GYM, WORKS, "", ALWAYS),
    ("", "changes_action keeps_action", GYM, WORKS, "", STEPS),
    ("", "slow", GYM, FAILED, "environment . gave no answer within env_timeout", (LATE,)),
    ("", "hangs_in_close", GYM, WORKS, "", (CLOSED,)),
    ("", "dies", ("async",), FAILED, "environment .: its process .*exit code 7", (LATE,)),
    ("", "is_killed", ("async",), FAILED, "environment .: its process .*code -9", (LATE,)),
    ("", "child", GYM, WORKS, "", (MADE,)),
    ("", "orphan", ("async",), WORKS, "", (MADE,)),
    # ... and what it is.
    ("", "time_limit", GYM, WORKS, "", (MADE,)),
    ("", "autoreset", GYM, WORKS | REFUSED, "", (MADE,)),
    ("", "one_instance", ("sync",), REFUSED | FAILED, "one object", (MADE,)),
    ("", "other_spaces", GYM, FAILED, "environment .*spaces differ", (MADE,)),
    ("", "changes_spaces own_class", GYM, ANY, "", (RESET,)),
    ("", "makes_vector", GYM, REFUSED, "many in one|VectorEnv|Env", (MADE,)),
    ("", "foreign_spaces no_spaces", GYM, REFUSED, "space", (MADE,)),
    ("", "makes_none", BOTH, REFUSED, "", (MADE,)),
    ("", "x64", BOTH, ANY, "", (MADE,)),
    # In JAX, by part.
    ("raises_in_factory_", ERRORS, JAX, REFUSED, "{name}", (MADE,)),
    ("raises_in_reset_", ERRORS, JAX, REFUSED, "{name}", (RESET,)),
    ("raises_in_step_", ERRORS, JAX, REFUSED, "{name}", (FIRST,)),
    ("step_reward_", "int float float64 python one", JAX, WORKS, "", (FIRST,)),
    ("step_terminated_", "int float float64 python one", JAX, WORKS, "", (FIRST,)),
    ("step_truncated_", "int float float64 python one", JAX, WORKS, "", (FIRST,)),
    ("step_reward_", "two none text missing", JAX, REFUSED, "reward", (FIRST,)),
    ("step_terminated_", "two none text missing", JAX, REFUSED, "terminated", (FIRST,)),
    ("step_truncated_", "two none text missing", JAX, REFUSED, "truncated", (FIRST,)),
    ("jax_observation_", "numpy float64 float16", JAX, WORKS, "", (RESET, FIRST)),
    ("jax_observation_", "int", JAX, WORKS, "", (FIRST,)),
    ("jax_observation_", "longer square none text", JAX, REFUSED, "", (RESET, FIRST)),
    ("jax_observation_", "missing", JAX, REFUSED, "observation", (RESET,)),
    ("step_plain_", "tuple list", JAX, WORKS | REFUSED, "Step", (FIRST,)),
    ("step_plain_", "short none dict state_only three", JAX, REFUSED, "Step", (FIRST,)),
    ("state_", "typed_key weak python dtype bool empty uint8", JAX, WORKS, "", (RESET,)),
    ("state_", "structure shape text", JAX, REFUSED, "state", (FIRST,)),
    ("size_", "larger smaller none text negative", JAX, REFUSED, "observation_size", (MADE,)),
    ("size_", "numpy", JAX, WORKS, "", (MADE,)),
    ("size_", "float zero", JAX, WORKS | REFUSED, "_size", (MADE,)),
    ("always_", "terminates truncates", JAX, WORKS, "", (FIRST,)),
    ("", "own_limit same_object debug_prints callback", JAX, WORKS, "", (MADE,)),
    ("", "own_limit_wrong", JAX, WORKS | REFUSED, "time_limit", (MADE,)),
    ("", "no_step no_size reset_without_key", JAX, REFUSED, "", (MADE,)),
    ("", "asks_a_tracer", JAX, REFUSED, "step", (FIRST,)),
    ("", "leaks_a_tracer", JAX, WORKS | REFUSED, "step", (FIRST,)),  # traced once, it may work
    ("", "callback_raises", JAX, FAILED, "ZeroDivisionError", (FIRST,)),
)
"""Beginning of the name, its ends, and the fields of `Fault`."""

FAULTS = {
    f"{prefix}{name}": Fault(kinds, codes, phrase.format(name=name), at)
    for prefix, names, kinds, codes, phrase, at in _ROWS
    for name in names.split()
}

SPACES = {
    "observation": ("discrete", "multi_binary", "text", "sequence", "graph", "image", "nested"),
    "action": ("discrete", "infinite", "half", "dict"),
}
"""What Gymnasium has and nothing is learned from or acted with."""


class Case(NamedTuple):
    """One environment, and how it is given to us.

    Attributes:
      seed, index: of what it was drawn.
      kind: "jax", or a Gymnasium environment stepped "sync" or "async".
      way: how it is named: "registered", "module" (`module:factory`), Gymnasium's "id", or
        "argument" (`env=` takes what makes it).
      observation: space of observations: see `fuzz_envs.space`; for "jax" its "shape" counts.
      action: the same for actions.
      fault: what is odd about it, of `FAULTS`; "" for nothing.
      at: the step of its life from which, or at which, that shows.
      during: "train", or "eval", where training is without it.
    """

    seed: int
    index: int
    kind: str
    way: str
    observation: dict[str, Any]
    action: dict[str, Any]
    fault: str = ""
    at: int = 0
    during: str = "train"

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(self._asdict())


class Expected(NamedTuple):
    """What is right: exit codes, and what the one line must say."""

    codes: frozenset[int]
    phrase: str


def draw(seed: int, index: int) -> Case:
    """Return a case; about half of them have a fault, a tenth spaces that cannot be used."""
    rng = np.random.default_rng([seed, index])
    kind = _choose(rng, ("sync", "sync", "async", "jax", "jax"))
    way = _choose(rng, ("registered", "registered", "module", "argument", "id"))
    way = "argument" if (kind, way) == ("jax", "id") else way
    case = Case(seed, index, kind, way, _observation(rng, kind), _action(rng, kind))
    odd = rng.random()
    if odd < 0.1 and kind != "jax":
        which = _choose(rng, tuple(SPACES))
        return case._replace(**{which: {"kind": _choose(rng, SPACES[which])}})
    if odd < 0.65:
        return _with_fault(rng, case)
    return case


def _with_fault(rng: np.random.Generator, case: Case) -> Case:
    """Return the case with a fault of its kind."""
    name = _choose(rng, [name for name, fault in FAULTS.items() if case.kind in fault.kinds])
    fault = FAULTS[name]
    at = int(_choose(rng, fault.at))
    late = case.kind != "jax" and at == LATE and fault.codes != WORKS
    during = "eval" if late and rng.random() < 0.3 else "train"
    return case._replace(fault=name, at=at, during=during)


def _choose(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


_SHAPES = ((), (1,), (3,), (2, 3))
_FLOATS, _WHOLE = ("float32", "float64", "float16"), ("int8", "uint8", "int64", "bool")
_BOUNDS = ("none", "both", "low", "high")


def _observation(rng: np.random.Generator, kind: str, depth: int = 0) -> dict[str, Any]:
    shape = list(_choose(rng, _SHAPES))
    if kind == "jax":
        return {"kind": "box", "shape": [max(int(np.prod(shape)), 1)]}
    if depth < 2 and rng.random() < 0.3:
        parts = [_observation(rng, kind, depth + 1) for _ in range(int(rng.integers(1, 4)))]
        return {"kind": _choose(rng, ("dict", "tuple")), "parts": parts}
    dtype = _choose(rng, (*_FLOATS, *_WHOLE))
    bounds = _choose(rng, _BOUNDS) if dtype in _FLOATS else "both"
    return {"kind": "box", "shape": shape, "dtype": dtype, "bounds": bounds}


def _action(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    if kind == "jax":
        return {"kind": "box", "shape": [int(rng.integers(1, 4))]}
    shape = list(_choose(rng, ((), (1,), (2, 2))))
    dtype = _choose(rng, ("float32", "float32", *_FLOATS, *_WHOLE))
    bounds = _choose(rng, ("both", "both", "uneven", "equal", "wide"))
    return {"kind": "box", "shape": shape, "dtype": dtype, "bounds": bounds}


def expected(case: Case) -> Expected:
    """Return what must become of a case, of the command in which its fault shows."""
    for which in ("observation", "action"):
        if getattr(case, which)["kind"] in SPACES[which]:
            return Expected(REFUSED, {"observation": "observation|space"}.get(which, "actions are"))
    if not case.fault:
        return Expected(WORKS, "")
    fault, late = FAULTS[case.fault], case.at == LATE
    if fault.codes is not None:
        return Expected(fault.codes, fault.phrase)
    # The first example takes a reset and a step, in every command.
    number = "environment [01]" if late else ""
    phrase = f"{number}.*{fault.phrase}" if fault.phrase != "Silent" else number
    return Expected(FAILED if late else REFUSED, phrase)
