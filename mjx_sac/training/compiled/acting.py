"""Acting: from observations to actions in [-1, 1]."""

import jax
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import normalizer
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Params


def act(
    actor_params: Params,
    observation: Float[Array, "*batch observation"],
    key: Key | None,
    *,
    networks: Networks,
) -> Float[Array, "*batch action"]:
    """An action in [-1, 1] for a normalised observation: a sample, or the mode where `key` is None."""
    distribution = networks.actor.apply(actor_params, observation)
    return distribution.mode() if key is None else distribution.sample(key)[0]


def policy(
    actor_params: Params,
    stats: NormalizerState,
    observation: Array,
    key: Key | None,
    *,
    networks: Networks,
    config: Config,
) -> Array:
    """`act` for raw observations."""
    if config.normalize_observations:
        observation = normalizer.normalize(stats, observation)
    with jax.default_matmul_precision(config.matmul_precision):
        return act(actor_params, observation, key, networks=networks)
