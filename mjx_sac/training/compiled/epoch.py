"""The compiled training epoch: `act`, `observe` and `learn` in one scan.

Nothing here talks to the host; `training.host.loop` calls it and logs what comes out.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from mjx_sac.algorithms import base
from mjx_sac.config import Config
from mjx_sac.envs import reports
from mjx_sac.envs.episodes import Episodes, EpisodeState
from mjx_sac.training.compiled import acting, history, normalizer, replay, reward_scaler, sharding
from mjx_sac.training.compiled import batches as batches_lib
from mjx_sac.training.compiled import metrics as metrics_lib
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.training.compiled.sharding import ENV_SHARDED, EPISODE_SPECS, REPLAY_SPECS, REPLICATED
from mjx_sac.training.compiled.updates import Parts, for_any_agent, learn
from mjx_sac.types import Key, Metrics, Scalar


def init(
    experiment: Experiment, key: Key, hyperparameters: dict[str, Scalar] | None = None
) -> RunState:
    """Return the state before the first vector step; `hyperparameters` override the config's."""
    hyperparameters = hyperparameters or {}
    experiment = experiment.with_hyperparameters(hyperparameters)
    config, episodes, env = experiment.config, experiment.episodes, experiment.episodes.env
    sizes = env.observation_size, env.action_size
    seen = history.size(config.history, *sizes), sizes[1]
    key, train_key = jax.random.split(key)
    explore, noise = experiment.algorithm.explore, None
    if explore:
        # "noise": no key of anything else.
        noise_key = jax.random.fold_in(train_key, 0x6E6F6973)
        noise = explore.init(noise_key, config.num_envs, env.action_size, config)
    transitions = experiment.transitions_per_episode()
    slots = config.num_envs if config.offline else config.buffer_size  # offline none is used
    return RunState(
        train=base.init(train_key, *seen, algorithm=experiment.algorithm, **experiment.static),
        episodes=episodes.init(jax.random.fold_in(train_key, 0x6D6F646C)),  # "modl"
        replay=replay.init(slots, config.num_envs, *sizes, transitions),
        normalizer=normalizer.init(env.observation_size),
        key=key,
        warm_up_left=jnp.int32(config.warm_up_vector_steps),
        hyperparameters=hyperparameters,
        since_update=jnp.int32(0) if config.vector_steps_per_update > 1 else None,
        reward_scaler=reward_scaler.init(config.num_envs) if config.normalize_rewards else None,
        exploration=noise,
        memory=history.begin(jnp.zeros((config.num_envs, sizes[0])), sizes[1], config.history),
    )


def epoch(experiment: Experiment, state: RunState) -> tuple[RunState, dict[str, Any]]:
    """Take `config.epoch_vector_steps` vector steps, each followed by its updates.

    Offline it is the updates alone.

    Returns:
      The state, and metrics: `rollout/...`, unless offline, `health/...`, `replay/size`, and
      "trained_vector_steps", in how many vector steps there were updates. Under "losses" is what
      these report, in parts: each with the number of vector steps that it was measured in,
      meaningless where that is zero. Under "reported" is what the environments do, NaN for none.
    """
    experiment = experiment.with_hyperparameters(state.hyperparameters)
    config, step = experiment.config, _vector_step
    if config.offline:
        step = _offline_step
    else:
        key, pool_key = jax.random.split(state.key)
        episodes = draw_initial_states(experiment, state.episodes, pool_key)
        state = state.replace(key=key, episodes=episodes)
    state, (rollout, train, trained) = jax.lax.scan(
        partial(step, experiment), state, None, length=config.epoch_vector_steps
    )
    metrics: dict[str, Any] = {
        "losses": [_over_epoch(part, trained, when) for part, when in train],
        "health/nonfinite_parameters": _count_nonfinite((state.train, state.normalizer)),
        "replay/size": jnp.sum(batches_lib.source(config, state).size),
        "trained_vector_steps": jnp.sum(trained),
    }
    if state.reward_scaler is not None:
        divisor = reward_scaler.divisor(state.reward_scaler, config.max_return)
        metrics["replay/reward_divisor"] = divisor
    if config.offline:
        return state, metrics
    ended = jnp.sum(rollout["episodes"])
    metrics |= {
        "rollout/ep_rew_mean": jnp.sum(rollout["return"]) / ended,
        "rollout/ep_len_mean": jnp.sum(rollout["length"]) / ended,
        "rollout/episodes": ended,
        "health/nonfinite_steps": jnp.sum(rollout["nonfinite"]),
    }
    if isinstance(experiment.episodes, Episodes):
        metrics["health/reset_pool_uses"] = experiment.episodes.pool_uses(state.episodes)
    if names := experiment.episodes.reported:
        total, count = jnp.sum(rollout["reported"], axis=0)
        metrics["reported"] = dict(zip(map(reports.tag, names), total / count, strict=True))
    return state, metrics


def draw_initial_states(experiment: Experiment, state: EpisodeState, key: Key) -> EpisodeState:
    """Return the state with other initial states for an epoch, if those left would not do.

    Each of several agents gets them when it would alone; nothing is drawn where no agent does.
    """
    episodes, config = experiment.episodes, experiment.config
    if not isinstance(episodes, Episodes):
        return episodes.refill(state, key)
    short = episodes.runs_short(state, config.epoch_vector_steps)
    for_any = for_any_agent(short) if config.is_population else short
    drawn = jax.lax.cond(
        for_any,
        lambda pool: sharding.refill(episodes, state, key).pool,
        lambda pool: pool,
        state.pool,
    )
    if config.is_population:
        drawn = jax.tree.map(partial(jnp.where, short), drawn, state.pool)
    return state.replace(pool=drawn, pool_next=jnp.where(short, 0, state.pool_next))


def _over_epoch(
    part: metrics_lib.Packed, trained: Bool[Array, " n"], when: Bool[Array, " n"] | None
) -> tuple[Metrics, Int32[Array, ""]]:
    """Return one part of what the losses report, and in how many vector steps it was measured."""
    measured = trained if when is None else trained & when
    return metrics_lib.unpack(metrics_lib.reduce_over_time(part, measured)), jnp.sum(measured)


def _count_nonfinite(tree: Any) -> Int32[Array, ""]:
    """Count non-finite numbers. Once per epoch: a loss shows them one gradient step too late."""
    counts = (jnp.sum(~jnp.isfinite(x)) for x in jax.tree.leaves(tree))
    return sum(counts, start=jnp.int32(0))


def _vector_step(
    experiment: Experiment, state: RunState, _: None
) -> tuple[RunState, tuple[Metrics, Parts, Bool[Array, ""]]]:
    """Advance all environments once, then update as `updates_per_iteration` asks.

    Environments on the host step while the device learns from what was there before.
    """
    key, act_key, sample_key, update_key = jax.random.split(state.key, 4)
    state, due = _count_to_update(experiment.config, state.replace(key=key))
    state, pending = act(experiment, state, act_key)
    if experiment.episodes.on_host:
        # The token is zero: learning starts when the environments are under way.
        sample_key = sample_key ^ pending.order_token
        state, metrics, trained = learn(experiment, state, sample_key, update_key, due)
        state, rollout = observe(experiment, state, pending)
    else:
        state, rollout = observe(experiment, state, pending)
        state, metrics, trained = learn(experiment, state, sample_key, update_key, due)
    return state, (rollout, metrics, trained)


def _offline_step(
    experiment: Experiment, state: RunState, _: None
) -> tuple[RunState, tuple[Metrics, Parts, Bool[Array, ""]]]:
    """Take the updates of a vector step without one."""
    key, sample_key, update_key = jax.random.split(state.key, 3)
    state, due = _count_to_update(experiment.config, state.replace(key=key))
    state, metrics, trained = learn(experiment, state, sample_key, update_key, due)
    return state, ({}, metrics, trained)


def _count_to_update(config: Config, state: RunState) -> tuple[RunState, Bool[Array, ""]]:
    """Return whether updates follow this vector step: after warm-up, every one or every n-th."""
    warmed_up = state.warm_up_left == 0
    if state.since_update is None:
        return state, warmed_up
    since = state.since_update + warmed_up
    due = since >= config.vector_steps_per_update
    return state.replace(since_update=jnp.where(due, 0, since)), due


class Pending(NamedTuple):
    """What a transition begins with, and the order token of `Episodes.send`."""

    observation: Float[Array, "num_envs observation"]
    action: Float[Array, "num_envs action"]
    started: Bool[Array, " num_envs"]
    order_token: Array


def act(experiment: Experiment, state: RunState, key: Key) -> tuple[RunState, Pending]:
    """Begin episodes where one has ended and choose actions: uniform ones during warm-up."""
    uniform_key, policy_key = jax.random.split(key)
    config = experiment.config
    started = state.episodes.ended
    episodes = experiment.episodes.start(state.episodes)
    observation = episodes.observation
    finite = jnp.all(jnp.isfinite(observation), axis=-1)  # a reset may return anything
    stats = normalizer.update(state.normalizer, observation, finite)
    begun = history.begin(observation, experiment.episodes.env.action_size, config.history)
    seen = history.see(observation, history.resume(state.memory, begun, started))
    distribution = acting.distribution(state.train.actor, stats, seen, **experiment.static)
    if explore := experiment.algorithm.explore:
        given = distribution, state.exploration, started, policy_key
        action, noise = explore.act(*given, config)
        state = state.replace(exploration=noise)
    else:
        action = distribution.sample(policy_key)[0]
    uniform = jax.random.uniform(uniform_key, action.shape, minval=-1.0, maxval=1.0)
    action = jnp.where(state.warm_up_left > 0, uniform, action)
    memory = history.follow(seen, action, observation.shape[-1])
    episodes, token = experiment.episodes.send(episodes, action)
    pending = Pending(observation, action, started, token)
    return state.replace(episodes=episodes, normalizer=stats, memory=memory), pending


def observe(experiment: Experiment, state: RunState, pending: Pending) -> tuple[RunState, Metrics]:
    """Receive the environments' answer, store the transitions, count finished episodes."""
    receive = sharding.shard_over_envs(
        experiment.episodes.receive,
        (EPISODE_SPECS, ENV_SHARDED, REPLICATED),
        (EPISODE_SPECS, ENV_SHARDED),
    )
    insert = sharding.shard_over_envs(
        partial(replay.insert, history=experiment.config.history),
        (REPLAY_SPECS, *[ENV_SHARDED] * 5),
        REPLAY_SPECS,
    )
    sent = state.episodes, pending.order_token, state.train.log_alpha
    episodes, (step, valid, nonfinite) = receive(*sent)
    acted = pending.observation, pending.action
    finished = episodes.ended & valid
    rollout = {
        "episodes": jnp.sum(finished),
        "return": jnp.sum(jnp.where(finished, episodes.episode_return, 0.0)),
        "length": jnp.sum(jnp.where(finished, episodes.length, 0)),
        "nonfinite": jnp.sum(nonfinite),
    }
    if names := experiment.episodes.reported:
        values = reports.per_episode(names, episodes.metrics, episodes.length)
        rollout["reported"] = metrics_lib.sum_where(values, finished)
    if state.reward_scaler is not None:
        seen, counted = jax.tree.map(sharding.replicate, (step, valid))
        discount = experiment.config.discount
        scaler = reward_scaler.update(state.reward_scaler, seen, counted, discount)
        state = state.replace(reward_scaler=scaler)
    state = state.replace(
        episodes=episodes,
        replay=insert(state.replay, *acted, step, pending.started, valid),
        warm_up_left=jnp.maximum(state.warm_up_left - 1, 0),
    )
    return state, rollout
