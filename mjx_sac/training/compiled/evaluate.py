"""Evaluation: whole episodes, in parallel, in the compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.envs import reports
from mjx_sac.envs.episodes import EpisodeState, choose
from mjx_sac.training.compiled import acting, history
from mjx_sac.training.compiled.experiment import Experiment
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Metrics, Params

Watch = Callable[[jax.Array, jax.Array, Key], Any]
"""Given what is seen and done in all episodes, and the key of a sampled action."""

_Carry = tuple[EpisodeState, Any, jax.Array, tuple[jax.Array, jax.Array], Key]

AT_ONCE, ON_HOST_AT_ONCE = 128, 16
"""Episodes played at the same time at most: each takes memory, and on the host an environment."""


def evaluate(
    experiment: Experiment,
    actor: Params,
    stats: NormalizerState,
    key: Key,
    *,
    episodes: int,
    deterministic: bool = True,
    watch: Watch | None = None,
    until_over: bool | None = None,
) -> dict[str, Any]:
    """Play whole episodes, each from its own initial state: many at once, or batch after batch.

    Args:
      experiment: environment and networks.
      actor: parameters and variables of the policy.
      stats: of its observations.
      key: of initial states and sampled actions.
      episodes: how many.
      deterministic: False samples the actions.
      watch: is called at every vector step.
      until_over: end with the last episode; by default on a CPU, for a GPU would ask the host at
        every turn whether it has. Environments on the host end there anyway.

    Returns:
      "return" and "length" (environment steps) of each, and whether it was "terminated" or
      "truncated": neither where the environment became non-finite. Under "reported", if it reports
      anything, its `reports.per_episode` by name. All are arrays [episodes]. Under "watched", if
      anybody does, at every vector step [episodes, steps]: what `watch` returns, the reward, and
      whether the episode was not over before it.
    """
    most = ON_HOST_AT_ONCE if experiment.episodes.on_host else AT_ONCE
    batches = -(-episodes // most)
    each = -(-episodes // batches)
    if until_over is None:
        until_over = jax.default_backend() == "cpu"
    loop = _until_over if until_over or experiment.episodes.on_host else jax.lax.scan
    play = partial(_play, experiment, (actor, stats), each, deterministic, watch, loop)
    if batches == 1:
        return play(key)
    played = jax.lax.map(play, jax.random.split(key, batches))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:episodes], played)


def _play(
    experiment: Experiment,
    policy: tuple[Params, NormalizerState],
    episodes: int,
    deterministic: bool,
    watch: Watch | None,
    loop: Callable[..., Any],
    key: Key,
) -> dict[str, Any]:
    """Play them all at the same time."""
    envs = experiment.episodes.copies(episodes)
    reset_key, action_key = jax.random.split(key)
    blank = envs.init(jax.random.fold_in(reset_key, 0x6D6F646C))  # "modl"
    state = envs.start(envs.refill(blank, reset_key))

    def step(carry: _Carry, _: None) -> tuple[_Carry, Any]:
        state, memory, over, (terminated, truncated), key = carry
        key, draw = jax.random.split(key)
        seen = jnp.where(over[:, None], 0.0, history.see(state.observation, memory))
        distribution = acting.distribution(*policy, seen, **experiment.static)
        action = distribution.mode() if deterministic else distribution.sample(draw)[0]
        memory = history.follow(seen, action, envs.env.observation_size)
        new, outcome = envs.step(state, action)
        watched = watch and (watch(seen, action, draw), outcome.step.reward, ~over)
        # An episode that is over keeps its length and return, whatever its physics does after.
        new = new.replace(**choose(over, state.sums, new.sums))
        terminated |= outcome.step.terminated & ~over
        truncated |= outcome.step.truncated & ~over
        return (new, memory, over | new.ended, (terminated, truncated), key), watched

    no = jnp.zeros(episodes, bool)
    length = -(-envs.episode_length // envs.action_repeat)
    n = experiment.config.history
    memory = history.begin(state.observation, envs.env.action_size, n)
    start = (state, memory, no, (no, no), action_key)
    (state, _, _, (terminated, truncated), _), watched = loop(step, start, None, length=length)
    steps = {"watched": jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), watched)} if watch else {}
    return {
        "return": state.episode_return,
        "length": state.length.astype(jnp.float32),
        "terminated": terminated,
        "truncated": truncated,
        **reports.described(envs.reported, state.metrics, state.length),
        **steps,
    }


def _until_over(
    step: Callable[[_Carry, None], tuple[_Carry, Any]], start: _Carry, _: None, length: int
) -> tuple[_Carry, Any]:
    """Like `scan`, but end when all episodes have: what would have come then is zero."""
    shapes = jax.eval_shape(step, start, None)[1]
    blank = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), shapes)

    def more(turn: tuple[jax.Array, _Carry, Any]) -> jax.Array:
        return (turn[0] < length) & ~jnp.all(turn[1][2])

    def once(turn: tuple[jax.Array, _Carry, Any]) -> tuple[jax.Array, _Carry, Any]:
        i, carry, outputs = turn
        following, (carry, new) = i + 1, step(carry, None)
        return following, carry, jax.tree.map(lambda all_, x: all_.at[i].set(x), outputs, new)

    return jax.lax.while_loop(more, once, (jnp.int32(0), start, blank))[1:]


def summary(result: dict[str, Any]) -> Metrics:
    """Return mean, std, min and max of return and length, under Stable-Baselines3's names, and the
    means of what the environment reports.
    """
    metrics: Metrics = {}
    for name, values in (("reward", result["return"]), ("ep_length", result["length"])):
        for statistic in ("mean", "std", "min", "max"):
            metrics[f"eval/{statistic}_{name}"] = getattr(jnp, statistic)(values)
    for name, values in result.get("reported", {}).items():
        metrics[reports.tag(name, evaluated=True)] = jnp.mean(values, where=jnp.isfinite(values))
    return metrics
