"""Gradient steps alone, as an epoch scans over them: to be compiled, counted or timed."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mjx_sac.algorithms import base, loader
from mjx_sac.config import Config
from mjx_sac.training.compiled import epoch
from mjx_sac.training.compiled.experiment import Experiment
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
    return Scan(partial(epoch.run_updates, experiment), init, batches, keys)
