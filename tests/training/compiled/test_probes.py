"""Probe environments: each isolates one thing that can go wrong, and its Q values are known.

The temperature is next to nothing, so the entropy bonus does not show in the values.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.probes import GAMMA, Probe, trained


def test_constant_reward():
    q, _ = trained(Probe(lambda o, a, n: jnp.float32(1.0), observe=lambda start, n: 0.0 * start))
    assert q(0.0, 0.0) == pytest.approx(1.0, abs=0.05)


def test_reward_from_the_observation():
    q, _ = trained(Probe(lambda o, a, n: o))
    assert [q(1.0, 0.0), q(-1.0, 0.0)] == pytest.approx([1.0, -1.0], abs=0.1)


def test_delayed_reward_is_discounted_once():
    # Two steps, observed as 0 and 1; only the second pays. Q(1) = 1, Q(0) = gamma.
    env = Probe(lambda o, a, n: (n == 1) * 1.0, steps=2, observe=lambda start, n: jnp.float32(n))
    q, _ = trained(env)
    assert [q(0.0, 0.0), q(1.0, 0.0)] == pytest.approx([GAMMA, 1.0], abs=0.08)


def test_two_rewards_are_summed_before_the_bootstrap():
    # As above, but the target critics stay as they began: only the sum brings the second step's
    # reward to the first.
    env = Probe(lambda o, a, n: (n == 1) * 1.0, steps=2, observe=lambda start, n: jnp.float32(n))
    q, _ = trained(env, n_step=2, tau=1e-9)
    assert [q(0.0, 0.0), q(1.0, 0.0)] == pytest.approx([GAMMA, 1.0], abs=0.08)


def test_action_dependent_reward_is_found():
    # Reward 1 - (a - o / 2)^2 is best at half the observation.
    q, policy = trained(Probe(lambda o, a, n: 1 - jnp.square(a - o / 2)))
    assert [q(1.0, 0.5), q(1.0, -0.5)] == pytest.approx([1.0, 0.0], abs=0.15)
    assert [policy(1.0), policy(-1.0)] == pytest.approx([0.5, -0.5], abs=0.1)


@pytest.mark.parametrize(("endless", "value"), [(True, 1 / (1 - GAMMA)), (False, 1.0)])
def test_a_time_limit_bootstraps_and_a_termination_does_not(endless, value):
    # Reward 1, one step per episode, the same observation throughout: cut off by the limit it is
    # worth 1 + gamma + ... = 2, ended by the task it is worth 1.
    env = Probe(
        lambda o, a, n: jnp.float32(1.0), endless=endless, observe=lambda start, n: 0.0 * start
    )
    q, _ = trained(env, episode_length=1)
    assert q(0.0, 0.0) == pytest.approx(value, abs=0.1)


def test_a_time_limit_bootstraps_from_the_final_observation():
    # Observed as 0, then 1, 2 ... until cut off after two steps; reward is the observation, worth
    # sum gamma^i (o + i) to an agent that never stops. Q(0) = 0 + gamma Q(1), and Q(1) bootstraps
    # from Q(2), which is only ever seen as a final observation and so is what the critic
    # extrapolates. From the observation after the reset it would be Q(0) instead.
    env = Probe(lambda o, a, n: o, endless=True, observe=lambda start, n: jnp.float32(n))
    q, _ = trained(env, episode_length=2)
    assert q(1.0, 0.0) == pytest.approx(1 + GAMMA * q(2.0, 0.0), abs=0.1)
    wrong = 1 + GAMMA * q(0.0, 0.0)
    assert abs(q(1.0, 0.0) - wrong) > 0.2
    assert np.isfinite(q(2.0, 0.0))


class Recall(Probe):
    """Two steps, observed as +-1 and as 0; the second pays the action times what was seen first."""

    def __init__(self):
        super().__init__(None, steps=2, observe=lambda start, n: start * (n == 0))
        self.reward = lambda o, a, n: 0.0

    def step(self, state, action):
        (start, count), (state, step) = state.inner, super().step(state, action)
        return state, step._replace(reward=start * action[0] * (count == 1))


def test_a_history_shows_what_an_observation_does_not():
    # One observation says nothing of the sign. Of two, the second is in the numbers o, a, o before:
    # Q(0 | a' 1, a) = a, and the first step is worth gamma times the best of that, 1.
    q, policy = trained(Recall(), history=2)
    assert [policy([0.0, 0.3, 1.0]), policy([0.0, 0.3, -1.0])] == pytest.approx([1, -1], abs=0.1)
    assert [q([0.0, 0.0, s], s / 2) for s in (1.0, -1.0)] == pytest.approx([0.5, 0.5], abs=0.15)
    assert q([1.0, 0.0, 1.0], 0.0) == pytest.approx(GAMMA, abs=0.15)


SHAPES = {
    "flashsac": {"num_blocks": 1, "actor_width": 8, "critic_width": 16},
    "xqc": {"actor_widths": (16,), "critic_widths": (32, 32)},
    "simbav2": {"actor_width": 8, "critic_width": 16, "critic_blocks": 1},
    "csac": {"hidden_sizes": (32, 32), "n_step": 1},
    "fasttd3": {"critic_widths": (32, 32), "v_min": -2, "v_max": 2, "policy_lr": 1e-3},
    "fastsac": {"critic_widths": (32, 32), "v_min": -2, "v_max": 2},
    "brc": {"actor_width": 8, "critic_width": 16, "critic_blocks": 1},
}


@pytest.mark.parametrize("name", SHAPES)
def test_categorical_critics_learn_values_and_the_best_action(name):
    # Two steps, observed as 0 and 1; the second pays 1 - (a - 1/2)^2. Q(1, a) is that, and
    # Q(0) = gamma * max Q(1) = gamma: scaled back, for critics see rewards that are divided.
    env = Probe(
        lambda o, a, n: (n == 1) * (1 - jnp.square(a - 0.5)),
        steps=2,
        observe=lambda start, n: jnp.float32(n),
    )
    shape = {**SHAPES[name], "atoms": 11, "updates_per_iteration": 1, "policy_delay": 2}
    short = {"log_interval": 2304, "iterations": 2304, "warm_up_steps": 1024}
    q, policy = trained(env, file=name, **shape, **short)
    assert [q(0.0, 0.0), q(1.0, 0.5), q(1.0, -0.5)] == pytest.approx([GAMMA, 1.0, 0.0], abs=0.15)
    assert policy(1.0) == pytest.approx(0.5, abs=0.15)
