"""What a run knows of its data set before its first gradient step."""

from typing import Any

import jax
import numpy as np

from mjx_sac.config import Config
from mjx_sac.runs.recorded import Recorded
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.training.compiled.reward_scaler import RewardScalerState


def statistics(recorded: Recorded, config: Config) -> dict[str, Any]:
    """Return the parts of the first state that begin with a data set's statistics.

    They are as if one environment had gone through its episodes in order: the normalizer has the
    observations acted on, the reward scaler the discounted sums of rewards. In float64: a sum of a
    million numbers in float32 would be off in its third digit.
    """
    observed = _moments(recorded.observation[recorded.row])
    agents: list[dict[str, Any]] = []
    for agent in config.population():
        parts: dict[str, Any] = {"normalizer": observed}
        if config.normalize_rewards:
            parts["reward_scaler"] = _scaler(recorded, agent.discount, config.num_envs)
        agents.append(parts)
    stacked = agents[0]
    if config.is_population:
        stacked = jax.tree.map(lambda *x: np.stack(x), *agents)
    return jax.tree.map(np.float32, stacked)


def _moments(rows: np.ndarray) -> NormalizerState:
    moments: Any = len(rows), rows.mean(axis=0, dtype=float), rows.var(axis=0, dtype=float)
    return NormalizerState(*moments)


def _scaler(recorded: Recorded, discount: float, num_envs: int) -> RewardScalerState:
    """Return what `reward_scaler.update` would have made of the rewards, one after another."""
    returns, total = np.empty(len(recorded.reward)), 0.0
    rewards = zip(recorded.reward.tolist(), recorded.last.tolist(), strict=True)
    for i, (reward, last) in enumerate(rewards):
        returns[i] = total = reward + (0.0 if last else discount * total)
    largest: Any = np.abs(returns).max()
    blank: Any = np.zeros(num_envs)
    return RewardScalerState(blank, _moments(returns[:, None]), largest)
