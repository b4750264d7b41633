"""Bias of the critics: their values of what is done in whole episodes, and the returns then seen.

Both are in the environment's rewards. A value is the mean over critics. A return is discounted and
soft, as targets are: with the entropy bonus of every n-th action after the first (n-step returns).
Actions are samples; without a temperature, `initial_alpha` being unused, there is no bonus, and the
mode acts. A time limit cuts returns off: a pair counts where its episode terminated, or where gamma
to the number of steps seen from then on is at most `REST`.

References:
  Chen et al., 2021, Randomized Ensembled Double Q-Learning, arXiv:2101.05982, section 3: mean and
  deviation of the bias, normalised by the mean return.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import Config
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import acting, evaluate, metrics, reward_scaler
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.types import Key, Metrics, Params, Scalar

REST = 0.05
"""The largest share of a steady reward's value that may be missing from a return."""


class Critics(NamedTuple):
    """What their values depend on; see `RunState`."""

    params: Params
    log_alpha: Scalar
    reward_scaler: Any
    hyperparameters: dict[str, Scalar]


def critics_of(config: Config, state: RunState) -> Critics | None:
    """Return the critics of a run whose evaluations judge them, otherwise None."""
    if not config.eval_q_bias:
        return None
    train = state.train
    return Critics(train.critic, train.log_alpha, state.reward_scaler, state.hyperparameters)


def measure(
    experiment: Experiment, actor: Params, stats: Any, critics: Critics, key: Key, episodes: int
) -> Metrics:
    """Play so many episodes; return means of value and return, mean and deviation of the bias, and
    histograms; all NaN where no pair counts.
    """
    experiment = experiment.with_hyperparameters(critics.hyperparameters)
    config, static = experiment.config, experiment.static
    soft, unit = "initial_alpha" not in config.unused, 1 / config.reward_scale
    if critics.reward_scaler is not None:
        unit *= reward_scaler.divisor(critics.reward_scaler, config.max_return)

    def watch(seen: Array, action: Array, key: Key) -> tuple[Array, Array]:
        observation = acting.normalized(stats, seen, config)
        given = critics.params, observation, action
        value = unit * jnp.mean(values(experiment.algorithm, *given, **static), axis=0)
        if not soft:
            return value, jnp.zeros_like(value)
        log_prob = acting.distribution(actor, stats, seen, **static).sample(key)[1]
        return value, -unit * jnp.exp(critics.log_alpha) * log_prob

    how: Any = {"episodes": episodes, "deterministic": not soft, "watch": watch}
    played = evaluate.evaluate(experiment, actor, stats, key, **how)
    (value, bonus), reward, alive = played["watched"]
    returns = returns_seen(reward * alive, bonus * alive, config.discount, config.n_step)
    left = jnp.cumsum(alive[:, ::-1], axis=1)[:, ::-1]
    whole = played["terminated"][:, None] | (config.discount**left <= REST)
    return _summary(value, returns, alive & whole)


def values(
    algorithm: Algorithm, *given: Any, networks: Networks, config: Config
) -> Float[Array, "critics batch"]:
    """Return each critic's value, `given` their parameters, normalised observations and actions;
    raise ValueError where it has another shape.
    """
    found = algorithm.values(networks.critic.apply(*given), config)
    if found.shape[1:] != (len(given[-1]),):
        problem = f"critics' values have shape {found.shape}, not (critics, batch)"
        way_out = "define values(output, config), which makes them of what critics return"
        raise ValueError(f"{problem}: beside the losses {way_out}")
    return found


def returns_seen(
    reward: Float[Array, "episodes steps"], bonus: Array, discount: float | Scalar, n_step: int
) -> Float[Array, "episodes steps"]:
    """Return sum_k gamma^k r_(t+k) + sum_(k>0) gamma^(nk) b_(t+nk) at every t."""

    def back(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Any, Array]:
        plain, soft = later  # at t + 1; at t + 1, ..., t + n, with the bonus there
        plain, ahead = now[0] + discount * plain, discount**n_step * soft[-1]
        return (plain, jnp.concatenate([(now[1] + ahead)[None], soft[:-1]])), plain + ahead

    none = jnp.zeros(len(reward)), jnp.zeros((n_step, len(reward)))
    return jax.lax.scan(back, none, (reward.T, bonus.T), reverse=True)[1].T


def _summary(value: Array, returns: Array, counted: Bool[Array, "*shape"]) -> Metrics:
    error, mean = value - returns, jnp.mean(returns, where=counted)
    found: Metrics = {"eval/q_value": jnp.mean(value, where=counted), "eval/q_return": mean}
    found["eval/q_bias"] = jnp.mean(error, where=counted) / jnp.abs(mean)
    found["eval/q_bias_std"] = jnp.std(error, where=counted) / jnp.abs(mean)
    for tag, x in (("q_value", value), ("q_return", returns)):
        rows = jnp.where(counted, x, jnp.nan)[None]
        shares = metrics.percentiles(f"{metrics.HISTOGRAM}eval/{tag}", rows, jnp.nanpercentile)
        found |= {name: percentile[0] for name, percentile in shares.items()}
    return found
