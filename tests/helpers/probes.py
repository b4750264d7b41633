"""Probe environments, and what is learned in them."""

from functools import partial

import jax
import jax.numpy as jnp

from helpers.runs import make_experiment
from mjx_sac.algorithms import categorical, loader, tqc
from mjx_sac.envs.base import State
from mjx_sac.training.compiled import acting, epoch, reward_scaler
from mjx_sac.types import Step

GAMMA = 0.5


class Probe:
    """One observation, one action; episodes of `steps` steps unless `endless`.

    The reward is `reward(observation, action, count)`.
    """

    observation_size = 1
    action_size = 1

    def __init__(self, reward, steps=1, endless=False, observe=lambda start, count: start):
        self.reward, self.steps, self.endless, self.observe = reward, steps, endless, observe

    def reset(self, key):
        start = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        return State(self.observe(start, 0)[None], (start, jnp.int32(0)))

    def step(self, state, action):
        start, count = state.inner
        reward = self.reward(state.observation[0], action[0], count)
        observation = self.observe(start, count + 1)[None]
        over = jnp.array(False) if self.endless else count + 1 >= self.steps
        return State(observation, (start, count + 1)), Step(
            observation, reward, over, jnp.array(False)
        )


def trained(env, **overrides):
    """Return the minimum of the critics as Q(observation, action), and the deterministic policy.

    After 3,200 gradient steps; keyword arguments change the configuration. With a history the
    observation is all that networks see.
    """
    settings = {
        "discount": GAMMA, "initial_alpha": 1e-8, "alpha_lr": 1e-8, "policy_lr": 3e-3,
        "q_lr": 3e-3, "tau": 0.05, "normalize_observations": False, "num_envs": 8,
        "hidden_sizes": (32, 32), "batch_size": 64, "buffer_size": 2048, "warm_up_steps": 256,
        "log_interval": 3456, "iterations": 3456, "episode_length": 10,
    }  # fmt: skip
    for name in loader.config_class(overrides.get("file", "sac")).unused:
        settings.pop(name, None)
    experiment = make_experiment(env, **{**settings, **overrides})
    start = epoch.init(experiment, jax.random.PRNGKey(0))
    state, _ = jax.jit(partial(epoch.epoch, experiment))(start)

    train, config = state.train, experiment.config
    critics = train.critic_params
    if train.critic_variables:
        critics = {**critics, **train.critic_variables}

    def q(observation, action):
        args = (jnp.reshape(jnp.array(observation), (1, -1)), jnp.array([[action]]))
        values = experiment.networks.critic.apply(critics, *args)
        if isinstance(config, categorical.Config):
            values = categorical.mean(values, config)
        if isinstance(config, tqc.Config):
            values = jnp.mean(values, axis=-1)
        if config.normalize_rewards:
            values *= reward_scaler.divisor(state.reward_scaler, config.max_return)
        return float(jnp.min(values))

    def policy(observation):
        seen = jnp.reshape(jnp.array(observation), (1, -1))
        args = (train.actor, state.normalizer, seen)
        return float(acting.distribution(*args, **experiment.static).mode()[0, 0])

    return q, policy
