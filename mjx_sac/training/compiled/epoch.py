"""The compiled training epoch: `act`, `observe` and `learn`, again and again in one scan.

Nothing here talks to the host. The loop that calls `epoch` and writes down what came out is in `api.py`.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int32, UInt32

from mjx_sac import devices, normalizer, replay, sac
from mjx_sac import metrics as metrics_lib
from mjx_sac.config import EPISODE_LENGTH, Config, UsageError
from mjx_sac.devices import ENVS, EPISODES, REPLAY, SAME
from mjx_sac.envs.episodes import Episodes, EpisodeState
from mjx_sac.envs.host import HostEpisodes
from mjx_sac.losses import Losses
from mjx_sac.metrics import Packed
from mjx_sac.networks import Networks
from mjx_sac.normalizer import NormalizerState
from mjx_sac.replay import ReplayState
from mjx_sac.types import Key, Metrics, Params, Scalar, TrainState, Transition

AGENTS = "agents"
"""The axis of `vmap` by which several agents are trained in one program."""

UPDATES_PER_TURN = 2
"""Gradient steps that the loop over them takes at a time. Two are faster than one on a CPU, and than four; why is not known: not
for the noise, without which it is the same. On a GPU they are some launches less."""


@dataclasses.dataclass(frozen=True)
class Agent:
    """What is fixed before compilation: `RunState` holds all the rest."""

    config: Config
    episodes: Episodes | HostEpisodes
    networks: Networks
    losses: Losses


class RunState(struct.PyTreeNode):
    """Everything a run needs to go on: it goes into `epoch` donated, comes out, and is what a checkpoint holds.

    Attributes:
      train: networks and optimizers.
      episodes: environments.
      replay: replay buffer.
      normalizer: running statistics of observations.
      key: the source of all randomness to come.
      warm_up_left: vector steps still to take with uniform actions and without updates.
      numbers: hyperparameters in which this agent differs from those it is trained with side by side.
    """

    train: TrainState
    episodes: EpisodeState
    replay: ReplayState
    normalizer: NormalizerState
    key: Key
    warm_up_left: Int32[Array, ""]
    numbers: dict[str, Scalar] = struct.field(default_factory=dict[str, Scalar])


SPLIT: Any = RunState(
    train=SAME,
    episodes=EPISODES,
    replay=REPLAY,
    normalizer=SAME,
    key=SAME,
    warm_up_left=SAME,
    numbers=SAME,
)
"""What of a state each of several devices holds: its environments and their part of the replay buffer, and all the rest."""


def make_agent(config: Config, env: Any, networks: Networks, losses: Losses) -> Agent:
    """Puts the parts of a run together."""
    if hasattr(env, "simulator"):
        if config.is_population:
            raise UsageError(
                f"num_seeds = {config.num_seeds}: an environment on the host cannot be shared by {config.num_agents} agents: train "
                f"them one after another, each with its own --seed and --logdir"
            )
        if not config.warm_up_steps:
            raise UsageError(
                f"warm_up_steps = 0: with an environment on the host, learning starts before the first step is there: "
                f"raise it to {config.num_envs}"
            )
        episodes = HostEpisodes(env, config.num_envs, config.episode_length, config.action_repeat, config.env_timeout)
        return Agent(config, episodes, networks, losses)
    pool_size = max(config.reset_pool_size, config.num_envs)  # no two environments start alike in the same vector step
    episodes = Episodes(env, config.num_envs, config.episode_length or EPISODE_LENGTH, config.action_repeat, pool_size)
    return Agent(config, episodes, networks, losses)


def init(agent: Agent, key: Key, numbers: dict[str, Scalar] | None = None) -> RunState:
    """The state before the first vector step.

    Args:
      agent: what is fixed.
      key: the source of all randomness.
      numbers: hyperparameters that take the place of the configuration's.
    """
    agent = _with_numbers(agent, numbers or {})
    config, env = agent.config, agent.episodes.env
    static: dict[str, Any] = {"networks": agent.networks, "config": config, "losses": agent.losses}
    key, train_key = jax.random.split(key)
    transitions_per_episode = -(-agent.episodes.episode_length // config.action_repeat)
    return RunState(
        train=sac.init(train_key, env.observation_size, env.action_size, **static),
        episodes=agent.episodes.init(),
        replay=replay.init(config.buffer_size, config.num_envs, env.observation_size, env.action_size, transitions_per_episode),
        normalizer=normalizer.init(env.observation_size),
        key=key,
        warm_up_left=jnp.int32(config.warm_up_vector_steps),
        numbers=numbers or {},
    )


def _with_numbers(agent: Agent, numbers: dict[str, Scalar]) -> Agent:
    """`agent` with some hyperparameters known only while it computes. Whoever reads them need not know."""
    return dataclasses.replace(agent, config=agent.config.model_copy(update=numbers)) if numbers else agent


def policy(agent: Agent, actor_params: Params, stats: NormalizerState, observation: Any, key: Key | None) -> jax.Array:
    """The action for raw observations: sampled, or deterministic where `key` is None."""
    return sac.policy(actor_params, stats, observation, key, networks=agent.networks, config=agent.config)


def epoch(agent: Agent, state: RunState) -> tuple[RunState, Metrics]:
    """`config.epoch_vector_steps` vector steps, each followed by its gradient steps, warming up or training alike."""
    agent = _with_numbers(agent, state.numbers)
    key, pool_key = jax.random.split(state.key)
    state = state.replace(key=key, episodes=devices.refill(agent.episodes, state.episodes, pool_key))
    state, (rollout, train, trained) = jax.lax.scan(
        partial(_vector_step, agent), state, None, length=agent.config.epoch_vector_steps
    )
    episodes = jnp.sum(rollout["episodes"])
    return state, {
        **metrics_lib.unpack(metrics_lib.reduce(train, trained)),
        "rollout/ep_rew_mean": jnp.sum(rollout["return"]) / episodes,
        "rollout/ep_len_mean": jnp.sum(rollout["length"]) / episodes,
        "rollout/episodes": episodes,
        "health/nonfinite_steps": jnp.sum(rollout["nonfinite"]),
        "health/nonfinite_parameters": _count_nonfinite((state.train, state.normalizer)),
        "replay/size": jnp.sum(state.replay.size),
        "trained_vector_steps": jnp.sum(trained),
    }


def _count_nonfinite(tree: Any) -> Int32[Array, ""]:
    """How many numbers in `tree` are not finite. Once per epoch: a loss shows it one gradient step too late."""
    return sum((jnp.sum(~jnp.isfinite(x)) for x in jax.tree.leaves(tree)), start=jnp.int32(0))


def _vector_step(agent: Agent, state: RunState, _: None) -> tuple[RunState, tuple[Metrics, Packed, Bool[Array, ""]]]:
    """All environments advance once, and there are as many gradient steps as `updates_per_iteration` asks for.

    On the device first one, then the other. Environments on the host step while the device learns from what was there before.
    """
    key, act_key, sample_key, update_key = jax.random.split(state.key, 4)
    warm = state.warm_up_left == 0
    state, pending = act(agent, state.replace(key=key), act_key)
    if agent.episodes.on_host:
        sample_key = sample_key ^ pending.ticket  # which is zero: learning starts when the environments are under way
        state, metrics, trained = learn(agent, state, sample_key, update_key, warm)
        state, rollout = observe(agent, state, pending)
    else:
        state, rollout = observe(agent, state, pending)
        state, metrics, trained = learn(agent, state, sample_key, update_key, warm)
    return state, (rollout, metrics, trained)


class Pending(NamedTuple):
    """What a transition begins with.

    Attributes:
      observation: what was acted on.
      action: what was chosen.
      started: the episode has just begun.
      ticket: of `Episodes.send`.
    """

    observation: Float[Array, "num_envs observation"]
    action: Float[Array, "num_envs action"]
    started: Bool[Array, " num_envs"]
    ticket: Array


def act(agent: Agent, state: RunState, key: Key) -> tuple[RunState, Pending]:
    """Begins new episodes where one has ended, and chooses an action for each environment: uniform while warming up."""
    uniform_key, policy_key = jax.random.split(key)
    started = state.episodes.ended
    episodes = agent.episodes.start(state.episodes)
    observation = episodes.env.observation
    finite = jnp.all(jnp.isfinite(observation), axis=-1)  # a reset may return something that is not
    stats = normalizer.update(state.normalizer, observation, finite)
    action = policy(agent, state.train.actor_params, stats, observation, policy_key)
    uniform = jax.random.uniform(uniform_key, action.shape, minval=-1.0, maxval=1.0)
    action = jnp.where(state.warm_up_left > 0, uniform, action)
    episodes, ticket = agent.episodes.send(episodes, action)
    return state.replace(episodes=episodes, normalizer=stats), Pending(observation, action, started, ticket)


def observe(agent: Agent, state: RunState, pending: Pending) -> tuple[RunState, Metrics]:
    """What came of it goes into the replay buffer."""
    receive = devices.apart(agent.episodes.receive, (EPISODES, ENVS, SAME), (EPISODES, ENVS))
    insert = devices.apart(replay.insert, (REPLAY, ENVS, ENVS, ENVS), REPLAY)
    episodes, (step, valid, nonfinite) = receive(state.episodes, pending.ticket, state.train.log_alpha)
    discount = jnp.where(step.terminated, 0.0, agent.config.discount)
    transition = Transition(pending.observation, pending.action, step.reward, discount, step.observation)
    finished = episodes.ended & valid
    rollout = {
        "episodes": jnp.sum(finished),
        "return": jnp.sum(jnp.where(finished, episodes.episode_return, 0.0)),
        "length": jnp.sum(jnp.where(finished, episodes.length, 0)),
        "nonfinite": jnp.sum(nonfinite),
    }
    state = state.replace(
        episodes=episodes,
        replay=insert(state.replay, transition, pending.started, valid),
        warm_up_left=jnp.maximum(state.warm_up_left - 1, 0),
    )
    return state, rollout


def learn(
    agent: Agent, state: RunState, sample_key: Key, update_key: Key, warm: Bool[Array, ""]
) -> tuple[RunState, Packed, Bool[Array, ""]]:
    """The gradient steps of one vector step, unless it only warms up or no step so far was finite; and whether it took them."""
    config = agent.config
    trained = warm & jnp.any(state.replay.size > 0)
    # One gather for all batches of this vector step.
    shape = (config.updates_per_vector_step, config.batch_size)
    batches = devices.sample(state.replay, sample_key, shape, config.discount)
    if config.normalize_observations:
        batches = batches._replace(
            observation=normalizer.normalize(state.normalizer, batches.observation),
            next_observation=normalizer.normalize(state.normalizer, batches.next_observation),
        )
    keys = jax.random.split(update_key, (shape[0], 2))

    updates = jax.jit(partial(run_updates, agent))  # jit: the shapes below and the branch share one trace
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(updates, state.train, batches, keys)[1])
    some = _for_any_agent(trained) if config.is_population else trained
    train, metrics = jax.lax.cond(some, updates, lambda train, *_: (train, blank), state.train, batches, keys)
    if config.is_population:
        train = jax.tree.map(lambda new, old: jnp.where(trained, new, old), train, state.train)
    return state.replace(train=train), metrics, trained


def _for_any_agent(predicate: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether it holds for one of those trained side by side: one answer for all, or `cond` would run both its branches."""
    return cast(Array, jax.lax.pmax(predicate.astype(jnp.int32), AGENTS)) > 0


def run_updates(
    agent: Agent, train: TrainState, batches: Transition, keys: UInt32[Array, "updates 2 2"]
) -> tuple[TrainState, Packed]:
    """Gradient steps, one after another, each with a batch and a pair of keys of its own."""

    def one(train: TrainState, inputs: tuple[Transition, UInt32[Array, "2 2"]]) -> tuple[TrainState, Packed]:
        train, metrics = sac.update(train, *inputs, networks=agent.networks, config=agent.config, losses=agent.losses)
        return train, metrics_lib.pack(metrics)

    train, metrics = jax.lax.scan(one, train, (batches, keys), unroll=min(UPDATES_PER_TURN, len(keys)))
    return train, metrics_lib.reduce(metrics_lib.summarise(metrics))
