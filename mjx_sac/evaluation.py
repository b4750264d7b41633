"""How good the policy is: whole episodes, in parallel, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_sac.envs.episodes import EpisodeState
from mjx_sac.normalizer import NormalizerState
from mjx_sac.trainer import Agent, policy
from mjx_sac.types import Key, Metrics, Params


def evaluate(
    agent: Agent, actor_params: Params, stats: NormalizerState, key: Key, *, episodes: int, deterministic: bool = True
) -> dict[str, Float[Array, " episodes"]]:
    """Plays `episodes` episodes, each from its own initial state, to their end.

    Returns:
      "return" and "length" (environment steps) of each.
    """
    envs = agent.episodes.copies(episodes)
    reset_key, action_key = jax.random.split(key)
    state = envs.start(envs.refill(envs.init(), reset_key))

    def step(carry: tuple[EpisodeState, jax.Array, Key], _: None) -> tuple[tuple[EpisodeState, jax.Array, Key], None]:
        state, over, key = carry
        key, draw = jax.random.split(key)
        observation = jnp.where(over[:, None], 0.0, state.env.observation)
        action = policy(agent, actor_params, stats, observation, None if deterministic else draw)
        new = envs.step(state, action)[0]
        # An episode that is over keeps its length and return, whatever its physics does from here on.
        new = new.replace(
            length=jnp.where(over, state.length, new.length),
            episode_return=jnp.where(over, state.episode_return, new.episode_return),
        )
        return (new, over | new.ended, key), None

    # A static length: a loop that stops when all are done would make a GPU ask the host at every turn.
    carry = (state, jnp.zeros(episodes, bool), action_key)
    length = -(-envs.episode_length // envs.action_repeat)
    (state, _, _), _ = jax.lax.scan(step, carry, None, length=length)
    return {"return": state.episode_return, "length": state.length.astype(jnp.float32)}


def summary(result: dict[str, Float[Array, " episodes"]]) -> Metrics:
    """Mean, deviation, minimum and maximum of return and length, under Stable-Baselines3's names."""
    metrics: Metrics = {}
    for name, values in (("reward", result["return"]), ("ep_length", result["length"])):
        for statistic in ("mean", "std", "min", "max"):
            metrics[f"eval/{statistic}_{name}"] = getattr(jnp, statistic)(values)
    return metrics
