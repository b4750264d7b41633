"""How good a trained policy is: many episodes, several policies from the same initial states."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mjx_sac import envs as envs_lib
from mjx_sac.config import UsageError, build
from mjx_sac.losses import Losses
from mjx_sac.policy.policy import Policy
from mjx_sac.training.compiled import epoch
from mjx_sac.training.compiled.evaluate import evaluate

_AT_ONCE = {True: 16, False: 128}
"""Episodes played in parallel: on the host, where each is an environment to build, and on the
device."""


def evaluate_policy(policy: Policy, **how: Any) -> dict[str, np.ndarray]:
    """`evaluate_policies` of one."""
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
    """Plays whole episodes of the environment that policies were trained in, or of another one of the same sizes, each policy from
    the same initial states.

    Args:
      policies: of the agents of one run, from `load_policy`.
      env: another environment, such as the same task on the host.
      backend: another physics engine.
      episodes: how many; each begins from a state of its own.
      deterministic: False samples the actions.
      seed: of initial states and actions.

    Returns:
      For each policy as `evaluate`; `statistics.describe` sums it up.

    Raises:
      UsageError: there is no such environment, or it is of another size.
      TrainingError: an environment on the host failed.
    """
    policy = policies[0]
    changes = {"env": env or policy.config.env, "backend": backend or policy.config.backend}
    config = build(type(policy.config), {**policy.config.model_dump(), **changes})
    fitting = _fitting(policy, config.env, envs_lib.make(config.env, config))
    experiment = epoch.make_experiment(config, fitting, policy.networks, Losses())
    at_once = min(episodes, _AT_ONCE[experiment.episodes.on_host])
    play = jax.jit(partial(evaluate, experiment, episodes=at_once, deterministic=deterministic))
    keys = jax.random.split(jax.random.PRNGKey(seed), -(-episodes // at_once))
    try:
        played = [
            [jax.device_get(play(each.actor_params, each.normalizer, key)) for key in keys]
            for each in policies
        ]
    except jax.errors.JaxRuntimeError as error:
        raise experiment.episodes.failure or error from None
    finally:
        experiment.episodes.close()
    return [
        {name: np.concatenate([part[name] for part in rounds])[:episodes] for name in rounds[0]}
        for rounds in played
    ]


def _fitting(policy: Policy, name: str, env: Any) -> Any:
    if (env.observation_size, env.action_size) != (policy.observation_size, policy.action_size):
        raise UsageError(
            f"env = {name!r}: {env.observation_size} numbers in an observation and {env.action_size} in an action, the policy was "
            f"trained with {policy.observation_size} and {policy.action_size}: choose another --env of the same task"
        )
    return env
