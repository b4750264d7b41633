"""Batches to learn from: drawn, augmented as the algorithm says, normalised and scaled."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mjx_sac.config import Config
from mjx_sac.training.compiled import acting, replay, reward_scaler, sharding
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.types import Key, Transition


def source(config: Config, state: RunState) -> replay.ReplayState:
    """Return where the transitions lie that make the run learn: offline those of the data set."""
    return state.dataset if config.offline and state.dataset is not None else state.replay


def draw(experiment: Experiment, state: RunState, key: Key) -> Transition:
    """Draw all batches of a vector step, augmented, normalised, and with rewards scaled."""
    config = experiment.config
    batches = augmented(experiment, _rows(config, state, key), key)
    if state.reward_scaler is not None:
        divisor = reward_scaler.divisor(state.reward_scaler, config.max_return)
        batches = batches._replace(reward=batches.reward / divisor)
    normalize = partial(acting.normalized, state.normalizer, config=config)
    return batches._replace(
        observation=normalize(batches.observation),
        next_observation=normalize(batches.next_observation),
    )


def augmented(experiment: Experiment, batches: Transition, key: Key) -> Transition:
    """Return batches, along the first axis, as the algorithm's `augment` makes each of them."""
    augment = experiment.algorithm.augment
    if augment is None:
        return batches
    # "augm": no key of anything else.
    keys = jax.random.split(jax.random.fold_in(key, 0x6175676D), len(batches.reward))
    return jax.vmap(augment)(batches, keys)


def _rows(config: Config, state: RunState, key: Key) -> Transition:
    """Draw all batches of a vector step by one gather: from the run's replay buffer, from the data
    set, or half of each batch from either.

    References:
      Ball et al., 2023, Efficient Online Reinforcement Learning with Offline Data,
      arXiv:2302.02948, section 4.1 (symmetric sampling).
    """
    updates, size = config.updates_per_vector_step, config.batch_size
    how = config.discount, config.n_step, config.history
    if state.dataset is None:
        return sharding.sample(state.replay, key, (updates, size), *how)
    if config.offline:
        return sharding.sample_replicated(state.dataset, key, (updates, size), *how)
    keys, half = jax.random.split(key), (updates, size // 2)
    recorded = sharding.sample_replicated(state.dataset, keys[0], half, *how)
    own = sharding.sample(state.replay, keys[1], half, *how)

    # In turns: devices that share a batch keep the rows that they have looked up.
    def in_turns(a: Array, b: Array) -> Array:
        return jnp.stack([a, b], axis=2).reshape(updates, size, *a.shape[2:])

    return jax.tree.map(in_turns, recorded, own)
