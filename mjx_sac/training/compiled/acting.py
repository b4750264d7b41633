"""Acting: from observations to actions in [-1, 1]."""

from typing import Any

import jax
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import normalizer
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Params


def distribution(
    actor: Params,
    stats: NormalizerState,
    observation: Float[Array, "*batch observation"],
    *,
    networks: Networks,
    config: Config,
) -> Any:
    """Return the actor's distribution of actions for raw observations."""
    if config.normalize_observations:
        observation = normalizer.normalize(stats, observation)
    # Rounding saves updates time, not this; what acts in training is what is exported.
    precision = config.matmul_precision
    with jax.default_matmul_precision("default" if precision == "bfloat16" else precision):
        return networks.actor.apply(actor, observation)


def policy(
    actor: Params,
    stats: NormalizerState,
    observation: Float[Array, "*batch observation"],
    key: Key | None,
    *,
    networks: Networks,
    config: Config,
) -> Float[Array, "*batch action"]:
    """Return actions for raw observations: sampled, or the mode where `key` is None.

    `actor` holds its parameters and variables, as `TrainState.actor`.
    """
    chosen = distribution(actor, stats, observation, networks=networks, config=config)
    return chosen.mode() if key is None else chosen.sample(key)[0]
