"""Play many episodes with trained policies, each policy from the same initial states."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mjx_sac import envs
from mjx_sac.config import Config, UsageError, build
from mjx_sac.losses import Losses
from mjx_sac.policy.policy import Policy
from mjx_sac.training.compiled import epoch
from mjx_sac.training.compiled.evaluate import evaluate

_AT_ONCE = {True: 16, False: 128}
"""Episodes played in parallel, by `on_host`: there each needs an environment built."""


def evaluate_policy(policy: Policy, **how: Any) -> dict[str, np.ndarray]:
    """Return `evaluate_policies` of one."""
    return evaluate_policies([policy], **how)[0]


def evaluate_policies(
    policies: Sequence[Policy],
    *,
    env: str | None = None,
    backend: str | None = None,
    episodes: int = 100,
    deterministic: bool = True,
    seed: int = 0,
) -> list[dict[str, np.ndarray]]:
    """Play whole episodes of the environment that policies were trained in, or of another.

    Args:
      policies: of the agents of one run, from `load_policy`.
      env: another environment of the same sizes, such as the same task on the host.
      backend: another physics engine.
      episodes: how many; each begins from another initial state.
      deterministic: False samples the actions.
      seed: of initial states and actions.

    Returns:
      For each policy "return", "length" (environment steps), "terminated" and "truncated" of every
      episode; `statistics.describe` summarizes them.

    Raises:
      UsageError: there is no such environment, or it has other sizes.
      TrainingError: an environment on the host failed.
    """
    policy = policies[0]
    changes = {"env": env or policy.config.env, "backend": backend or policy.config.backend}
    config = build(type(policy.config), {**policy.config.model_dump(), **changes})
    environment = _environment(policy, config)
    experiment = epoch.make_experiment(config, environment, policy.networks, Losses())
    at_once = min(episodes, _AT_ONCE[experiment.episodes.on_host])
    play = jax.jit(partial(evaluate, experiment, episodes=at_once, deterministic=deterministic))
    keys = jax.random.split(jax.random.PRNGKey(seed), -(-episodes // at_once))

    def play_all(policy: Policy) -> dict[str, np.ndarray]:
        parts = [jax.device_get(play(policy.actor_params, policy.normalizer, key)) for key in keys]
        return {
            name: np.concatenate([part[name] for part in parts])[:episodes] for name in parts[0]
        }

    try:
        return [play_all(policy) for policy in policies]
    except jax.errors.JaxRuntimeError as error:
        raise experiment.episodes.failure or error from None
    finally:
        experiment.episodes.close()


def _environment(policy: Policy, config: Config) -> Any:
    env = envs.make(config.env, config)
    if (env.observation_size, env.action_size) != (policy.observation_size, policy.action_size):
        raise UsageError(
            f"env = {config.env!r}: {env.observation_size} numbers in an observation and "
            f"{env.action_size} in an action, the policy was trained with "
            f"{policy.observation_size} and {policy.action_size}: choose another --env of the same "
            f"task"
        )
    return env
