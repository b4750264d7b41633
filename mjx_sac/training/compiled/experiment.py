"""What an experiment is: the parts that are fixed before compilation, and all that changes."""

import dataclasses
from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int32

from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import Config, UsageError
from mjx_sac.envs import views
from mjx_sac.envs.base import episode_length
from mjx_sac.envs.episodes import Episodes, EpisodeState
from mjx_sac.envs.host.callbacks import HostEpisodes
from mjx_sac.networks import Networks
from mjx_sac.training.compiled import history, sharding
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.training.compiled.replay import ReplayState
from mjx_sac.training.compiled.reward_scaler import RewardScalerState
from mjx_sac.training.compiled.sharding import ENV_SHARDED, EPISODE_SPECS, REPLAY_SPECS, REPLICATED
from mjx_sac.types import Key, Scalar, TrainState


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is fixed before compilation: `RunState` holds all the rest."""

    config: Config
    episodes: Episodes | HostEpisodes
    networks: Networks
    algorithm: Algorithm

    @property
    def static(self) -> dict[str, Any]:
        """What losses and policies are called with beside arrays."""
        return {"networks": self.networks, "config": self.config}

    def with_hyperparameters(self, values: dict[str, Scalar]) -> "Experiment":
        """Return it with traced values in the configuration, whose readers need not know."""
        if not values:
            return self
        return dataclasses.replace(self, config=self.config.model_copy(update=values))

    def transitions_per_episode(self) -> int:
        """Return what an episode has at most; UsageError where `n_step` or `history` is more."""
        config = self.config
        most = -(-self.episodes.episode_length // config.action_repeat)
        for field in ("n_step", "history"):
            if (steps := getattr(config, field)) > most:
                problem = f"an episode of {config.env} ends after {most} transitions"
                raise UsageError(f"{field} = {steps}: {problem}: lower {field} to {most}")
        return most


class RunState(struct.PyTreeNode):
    """All that a run needs to resume: donated to `epoch`, returned by it, and checkpointed.

    Attributes:
      key: the source of all randomness to come.
      warm_up_left: vector steps still to take with uniform actions and without updates.
      hyperparameters: those, traced, in which this agent differs from others in its program.
      since_update: vector steps since updates were due; None where they are due after every one.
      reward_scaler: discounted sums of rewards; None unless rewards are scaled by them.
      exploration: what `Algorithm.explore` keeps; None without it.
      memory: what environments have seen and done before, see `history`; None where that is 1.
      dataset: recorded transitions, which nothing changes; None without any. All agents share it,
        every device has all of it, and no checkpoint does: it is read again from its source.
    """

    train: TrainState
    episodes: EpisodeState
    replay: ReplayState
    normalizer: NormalizerState
    key: Key
    warm_up_left: Int32[Array, ""]
    hyperparameters: dict[str, Scalar] = struct.field(default_factory=dict[str, Scalar])
    since_update: Int32[Array, ""] | None = None
    reward_scaler: RewardScalerState | None = None
    exploration: Any = None
    memory: Float[Array, "num_envs memory"] | None = None
    dataset: ReplayState | None = None

    @property
    def saved(self) -> Any:
        """What a checkpoint holds."""
        return self.replace(dataset=None)

    @classmethod
    def specs(cls) -> Any:
        """Return how each part is sharded where devices share one agent's environments."""
        own = {"episodes": EPISODE_SPECS, "replay": REPLAY_SPECS, "memory": ENV_SHARDED}
        return sharding.fill(cls, REPLICATED, **own)

    @classmethod
    def of_agents(cls, own: Any, shared: Any) -> Any:
        """Return `own` where agents differ, and `shared` for the data set and for the counters that
        decide for all.
        """
        train = sharding.fill(TrainState, own, since_actor_update=shared)
        common = dict.fromkeys(("warm_up_left", "since_update", "dataset"), shared)
        return sharding.fill(cls, own, train=train, **common)


def make_experiment(
    config: Config, env: Any, networks: Networks, algorithm: Algorithm
) -> Experiment:
    """Put the parts of a run together; networks see what `env.views` says.

    Raises:
      UsageError: an environment on the host cannot be trained as `config` says.
    """
    seen: views.Views | None = getattr(env, "views", None)
    if seen and config.history > 1:
        seen = history.views(seen, env.action_size, config.history)
    networks = views.seeing(networks, seen)
    if hasattr(env, "simulator"):
        _check_host(config)
        return Experiment(config, HostEpisodes(env, config.num_envs, config), networks, algorithm)
    limit = episode_length(env, config)
    # No two environments start alike in the same vector step.
    pool_size = max(config.reset_pool_size, config.num_envs)
    if getattr(env, "randomize", None):  # as many for each
        pool_size = -(-pool_size // config.num_envs) * config.num_envs
    episodes = Episodes(env, config.num_envs, limit, config.action_repeat, pool_size)
    return Experiment(config, episodes, networks, algorithm)


def _check_host(config: Config) -> None:
    if config.is_population:
        problem = f"an environment on the host cannot be shared by {config.num_agents} agents"
        way_out = "train them one after another, each with its own --seed and --logdir"
        raise UsageError(f"num_seeds = {config.num_seeds}: {problem}: {way_out}")
    if not config.warm_up_steps and not config.offline:
        problem = "with an environment on the host, learning starts before the first step is there"
        raise UsageError(f"warm_up_steps = 0: {problem}: raise it to {config.num_envs}")
