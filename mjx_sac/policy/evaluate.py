"""Play many episodes with trained policies, each policy from the same initial states."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import ordinary_jax, staying, surroundings
from mjx_sac.envs.episodes import callback_failure
from mjx_sac.envs.host.protocol import leave_if_started_again
from mjx_sac.policy.policy import Policy, place
from mjx_sac.training.compiled.evaluate import AT_ONCE, ON_HOST_AT_ONCE, evaluate
from mjx_sac.training.compiled.experiment import make_experiment


def evaluate_policy(policy: Policy, **how: Any) -> dict[str, np.ndarray]:
    """Return `evaluate_policies` of one."""
    return evaluate_policies([policy], **how)[0]


@staying()
@ordinary_jax()
def evaluate_policies(
    policies: Sequence[Policy],
    *,
    episodes: int = 100,
    deterministic: bool = True,
    seed: int = 0,
    **other: Any,
) -> list[dict[str, np.ndarray]]:
    """Play whole episodes of the environment that policies were trained in, or of another.

    Args:
      policies: of the agents of one run, from `load_policy`.
      episodes: how many; each begins from another initial state.
      deterministic: False samples the actions.
      seed: of initial states, models and actions.
      other: fields of the configuration that are others than in training: `env`, of the same sizes,
        such as the same task on the host, `env_options`, `backend`, `domain_randomization`.

    Returns:
      For each policy "return", "length" (environment steps), "terminated", "truncated" and, where
      environments report something, "reported" of every episode; `statistics.describe` summarizes
      them.

    Raises:
      UsageError: there is no such environment, or it has other sizes.
      TrainingError: an environment on the host failed.
    """
    leave_if_started_again()
    surroundings.seed_generators(seed)
    policy, environment = place(policies[0], other)
    experiment = make_experiment(policy.config, environment, policy.networks, Algorithm())
    # On the host an environment must be built for each that is played at once.
    at_once = min(episodes, ON_HOST_AT_ONCE if experiment.episodes.on_host else AT_ONCE)
    play = jax.jit(partial(evaluate, experiment, episodes=at_once, deterministic=deterministic))
    keys = jax.random.split(jax.random.PRNGKey(seed), -(-episodes // at_once))

    @ordinary_jax()  # again: the environment's modules may have changed it
    def play_all(policy: Policy) -> dict[str, np.ndarray]:
        parts = [jax.device_get(play(policy.actor_params, policy.normalizer, key)) for key in keys]
        return jax.tree.map(lambda *values: np.concatenate(values)[:episodes], *parts)

    try:
        return [play_all(policy) for policy in policies]
    except jax.errors.JaxRuntimeError as error:
        raise experiment.episodes.failure or callback_failure(error) or error from None
    finally:
        experiment.episodes.close()
