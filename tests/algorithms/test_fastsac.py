"""FastSAC against the authors' code."""

import jax
import numpy as np
import pytest
from helpers import recorded

from mjx_sac.algorithms import fastsac
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import UsageError
from mjx_sac.runs.resolve import resolve

pytestmark = pytest.mark.smoke

CONFIG = fastsac.Config(
    hidden_sizes=(16, 8, 4), critic_widths=(32, 16, 8), atoms=21, v_min=-2, v_max=2,
    policy_delay=2, batch_size=32,
)  # fmt: skip
ALGORITHM = Algorithm(fastsac.losses, fastsac.networks, fastsac.optimizers)
STATIC = {"networks": fastsac.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("fastsac")
"""Ten gradient steps of amazon-far/holosoma at fc600e7d on PyTorch, from perturbed weights; at a
discount of 0.99, with actions in [-1, 1] and an actor that moves on every second."""

DENSE = ("Join_0", "Dense_0", "Dense_1")
NORMS = ("LayerNorm_0", "LayerNorm_1", "LayerNorm_2")


def their_array(when, network, path):
    """Return the authors' array for one of our parameters."""
    layer, leaf = path[-2:]
    end = "bias" if leaf == "bias" else "weight"
    if layer in (*DENSE, *NORMS):  # each followed by its norm and an activation
        place = DENSE.index(layer) * 3 if layer in DENSE else NORMS.index(layer) * 3 + 1
        names = [f"net.{place}.{end}"]
    else:
        names = ["fc_mu.0", "fc_logstd"] if network == "actor" else ["net.9"]
        names = [f"{name}.{end}" for name in names]
    critics = ("qnets.0.", "qnets.1.") if network == "critic" else ("",)
    found = np.stack(
        [np.concatenate([THEIRS[f"{when}/{critic}{x}"] for x in names]) for critic in critics]
    )
    if layer in DENSE and leaf == "kernel":  # the heads' are kept as PyTorch keeps all
        found = np.swapaxes(found, -1, -2)
    return found if network == "critic" else found[0]


def test_ten_gradient_steps_are_the_authors():
    recorded.check(
        THEIRS,
        their_array,
        within=recorded.all_within(1e-5),
        moved={**recorded.all_within(5e-4), "log_alpha": 1e-3},
        rtol=1e-4,
        **STATIC,
    )


def test_it_begins_with_the_same_action_for_all_observations():
    actor = fastsac.networks(CONFIG, 3).actor
    rows = jax.random.normal(jax.random.PRNGKey(0), (7, 5))
    policy = actor.apply(actor.init(jax.random.PRNGKey(1), rows), rows)
    np.testing.assert_array_equal(policy.mean, 0)
    np.testing.assert_allclose(policy.std, np.exp(-2.5), rtol=1e-6)  # the middle of -5 and 0


def test_deviations_must_ascend():
    message = "log_std_min -5 is not below log_std_max -6: lower log_std_min or raise log_std_max"
    with pytest.raises(UsageError, match=message):
        resolve({"env": "counter", "algorithm": "fastsac", "log_std_max": -6.0})
