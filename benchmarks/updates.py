"""Gradient steps alone, as an epoch scans over them: to be compiled, counted or timed."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mjx_sac.algorithms import base, loader
from mjx_sac.config import Config
from mjx_sac.training.compiled import updates
from mjx_sac.training.compiled.experiment import Experiment
from mjx_sac.training.host import compile
from mjx_sac.types import Transition


class Scan(NamedTuple):
    """A scan over gradient steps, `run(state, batches, keys)`.

    Attributes:
      run: the scan.
      init: key -> state.
      batches: shapes of the transitions.
      keys: their shapes.
    """

    run: Any
    init: Any
    batches: Transition
    keys: jax.ShapeDtypeStruct


def scan(config: Config, sizes: tuple[int, int], n: int) -> Scan:
    """Return the scan over n gradient steps, for `sizes` of observations and actions."""
    algorithm = loader.load(config)
    networks = algorithm.networks(config, sizes[1])
    experiment: Any = Experiment(config, None, networks, algorithm)  # pyright: ignore[reportArgumentType]
    static = {"networks": networks, "config": config, "algorithm": algorithm}
    init = partial(base.init, observation_size=sizes[0], action_size=sizes[1], **static)

    def shape(*size: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((n, config.batch_size, *size), jnp.float32)

    observation = shape(sizes[0])
    batches = Transition(observation, shape(sizes[1]), shape(), shape(), observation)
    keys = jax.ShapeDtypeStruct((n, 2, 2), jnp.uint32)
    return Scan(partial(updates.run_updates, experiment), init, batches, keys)


def timed(config: Config, sizes: tuple[int, int], n: int) -> Any:
    """Return a compiled function without arguments that takes n gradient steps on drawn
    transitions.
    """
    steps, draw = scan(config, sizes, n), np.random.default_rng(0)
    fill = lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype)  # noqa: E731
    keys = jax.random.split(jax.random.PRNGKey(1), steps.keys.shape[:-1])
    args = steps.init(jax.random.PRNGKey(0)), jax.tree.map(fill, steps.batches), keys
    program = jax.jit(steps.run).lower(*args).compile(compile.options(jax.default_backend()))
    return partial(program, *args)


def rate(function: Any, seconds: float) -> float:
    """Return calls per second, called for at least so many seconds, once at least."""
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not calls:
        jax.block_until_ready(function())
        calls += 1
    return calls / passed


def in_turns(functions: Mapping[str, Any], turns: int, seconds: float) -> dict[str, list[float]]:
    """Return calls per second of each function, turn by turn; the first, which warms caches up,
    does not count.
    """
    rates: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            measured = rate(function, seconds)
            if turn:
                rates[name].append(measured)
    return rates
