"""Acting: from observations to actions in [-1, 1]."""

import jax
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import normalizer
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Params


def policy(
    actor_params: Params,
    stats: NormalizerState,
    observation: Float[Array, "*batch observation"],
    key: Key | None,
    *,
    networks: Networks,
    config: Config,
) -> Float[Array, "*batch action"]:
    """Return actions for raw observations: sampled, or the mode where `key` is None."""
    if config.normalize_observations:
        observation = normalizer.normalize(stats, observation)
    with jax.default_matmul_precision(config.matmul_precision):
        distribution = networks.actor.apply(actor_params, observation)
        return distribution.mode() if key is None else distribution.sample(key)[0]
