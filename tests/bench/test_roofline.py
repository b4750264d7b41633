"""What the roofline counts. What a machine's rates are is nothing that a test can know."""

import itertools

import pytest
from helpers.runs import make_config

from mjx_sac.algorithms import td3
from mjx_sac.bench import roofline, stages
from mjx_sac.config import Config


def test_flops_are_mostly_those_of_the_products():
    # Two observations, one action, batch 256. A product of [256, a] and [a, b] takes 512 a b.
    # A layer goes forward, backward in its weights and, unless it is the first, in its inputs.
    def layers(*sizes):
        return [512 * a * b for a, b in itertools.pairwise(sizes)]

    actor, critic = layers(2, 256, 256, 2), layers(3, 256, 256, 1)
    # The critics' loss: the actor and two targets forward; two critics there and back.
    products = sum(actor) + 2 * (3 * sum(critic) + sum(critic[1:]))
    # The actor's: actor and critics forward; back down to the action; the actor's own way back.
    to_action = 512 * 1 * 256
    products += 2 * (sum(critic) + sum(critic[1:]) + to_action)
    products += 3 * sum(actor) - actor[0]
    experiment, state = stages.start(Config(env="counter", num_envs=1, buffer_size=1000))
    counted = roofline.count_flops(experiment, state.train, *stages.batches(experiment, state))
    assert products < counted < 1.05 * products


def test_a_delayed_actor_costs_its_share():
    # With the actor a, critics alone c: (a + c) / 2 where it moves every other time.
    counted = []
    for delay in (1, 2):
        config = make_config(algorithm="td3", policy_delay=delay, num_envs=1)
        experiment, state = stages.start(config)
        assert type(experiment.networks.actor) is td3.Actor
        batch, keys = stages.batches(experiment, state)
        assert len(keys) == (16 if delay == 1 else 17), "each step finds out, as in training"
        counted.append(roofline.count_flops(experiment, state.train, batch, keys))
    always, half = counted
    assert always / 2 < half < always


def test_bound_and_fractions_by_hand():
    # 10 GFLOP/s and steps of 0.5 GFLOP: 20 steps a second at most, of which 5 are a quarter; where
    # products as large as a layer's run at 5 GFLOP/s, a half.
    rates = {"update": 5.0, "matmul": 10.0, "matmul_of_a_layer": 5.0}
    assert roofline.roofline(0.5e9, rates) == pytest.approx(
        {
            "flops_per_update": 0.5e9,
            "updates_per_second_bound": 20.0,
            "fraction": 0.25,
            "fraction_at_the_rate_of_a_layer": 0.5,
        }
    )
