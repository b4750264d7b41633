"""Acting: from observations to actions in [-1, 1]."""

from typing import Any

import jax
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import history, normalizer
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Params


def distribution(
    actor: Params,
    stats: NormalizerState,
    observation: Float[Array, "*batch observation"],
    *,
    networks: Networks,
    config: Config,
) -> Any:
    """Return the actor's distribution of actions for raw observations, with their history.

    `actor` holds parameters and variables, as `TrainState.actor`.
    """
    observation = normalized(stats, observation, config)
    # Rounding saves updates time, not this; what acts in training is what is exported.
    precision = config.matmul_precision
    with jax.default_matmul_precision("default" if precision == "bfloat16" else precision):
        return networks.actor.apply(actor, observation)


def normalized(
    stats: NormalizerState, observation: Float[Array, "*batch observation"], config: Config
) -> Float[Array, "*batch observation"]:
    """Return what networks are given of raw observations, with their history."""
    if not config.normalize_observations:
        return observation
    stats = history.statistics(stats, observation.shape[-1], config.history)
    return normalizer.normalize(stats, observation)
