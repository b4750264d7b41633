"""How good the policy is: whole episodes, in parallel, on the device."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from mjx_sac import envs as envs_lib
from mjx_sac import trainer
from mjx_sac.config import UsageError, build
from mjx_sac.envs.episodes import EpisodeState
from mjx_sac.losses import Losses
from mjx_sac.normalizer import NormalizerState
from mjx_sac.policy import Policy
from mjx_sac.trainer import Agent
from mjx_sac.types import Key, Metrics, Params

_Carry = tuple[EpisodeState, jax.Array, tuple[jax.Array, jax.Array], Key]

_AT_ONCE = {True: 16, False: 128}
"""Episodes played in parallel, on the host (every one an environment to build) and on the device."""


def evaluate(
    agent: Agent, actor_params: Params, stats: NormalizerState, key: Key, *, episodes: int, deterministic: bool = True
) -> dict[str, Shaped[Array, " episodes"]]:
    """Plays `episodes` episodes, each from its own initial state, to their end.

    Returns:
      "return" and "length" (environment steps) of each, and whether it was "terminated" or "truncated": neither where the
      environment stopped being finite.
    """
    envs = agent.episodes.copies(episodes)
    reset_key, action_key = jax.random.split(key)
    state = envs.start(envs.refill(envs.init(), reset_key))

    def step(carry: _Carry, _: None) -> tuple[_Carry, None]:
        state, over, (terminated, truncated), key = carry
        key, draw = jax.random.split(key)
        observation = jnp.where(over[:, None], 0.0, state.env.observation)
        action = trainer.policy(agent, actor_params, stats, observation, None if deterministic else draw)
        new, outcome = envs.step(state, action)
        # An episode that is over keeps its length and return, whatever its physics does from here on.
        new = new.replace(
            length=jnp.where(over, state.length, new.length),
            episode_return=jnp.where(over, state.episode_return, new.episode_return),
        )
        terminated |= outcome.step.terminated & ~over
        truncated |= outcome.step.truncated & ~over
        return (new, over | new.ended, (terminated, truncated), key), None

    # A static length: a loop that stops when all are done would make a GPU ask the host at every turn.
    no = jnp.zeros(episodes, bool)
    length = -(-envs.episode_length // envs.action_repeat)
    (state, _, (terminated, truncated), _), _ = jax.lax.scan(step, (state, no, (no, no), action_key), None, length=length)
    lengths = state.length.astype(jnp.float32)
    return {"return": state.episode_return, "length": lengths, "terminated": terminated, "truncated": truncated}


def summary(result: dict[str, Shaped[Array, " episodes"]]) -> Metrics:
    """Mean, deviation, minimum and maximum of return and length, under Stable-Baselines3's names."""
    metrics: Metrics = {}
    for name, values in (("reward", result["return"]), ("ep_length", result["length"])):
        for statistic in ("mean", "std", "min", "max"):
            metrics[f"eval/{statistic}_{name}"] = getattr(jnp, statistic)(values)
    return metrics


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
    agent = trainer.make_agent(config, fitting, policy.networks, Losses())
    at_once = min(episodes, _AT_ONCE[agent.episodes.on_host])
    play = jax.jit(partial(evaluate, agent, episodes=at_once, deterministic=deterministic))
    keys = jax.random.split(jax.random.PRNGKey(seed), -(-episodes // at_once))
    try:
        played = [[jax.device_get(play(each.actor_params, each.normalizer, key)) for key in keys] for each in policies]
    except jax.errors.JaxRuntimeError as error:
        raise agent.episodes.failure or error from None
    finally:
        agent.episodes.close()
    return [{name: np.concatenate([part[name] for part in rounds])[:episodes] for name in rounds[0]} for rounds in played]


def _fitting(policy: Policy, name: str, env: Any) -> Any:
    if (env.observation_size, env.action_size) != (policy.observation_size, policy.action_size):
        raise UsageError(
            f"env = {name!r}: {env.observation_size} numbers in an observation and {env.action_size} in an action, the policy was "
            f"trained with {policy.observation_size} and {policy.action_size}: choose another --env of the same task"
        )
    return env
