"""BRC against the authors' code, and its average of distributions by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import recorded

from mjx_sac.algorithms import base, brc, categorical
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = brc.Config(actor_width=8, critic_width=16, atoms=21, v_min=-2, v_max=2, batch_size=32)
ALGORITHM = Algorithm(brc.losses, brc.networks, brc.optimizers)
STATIC = {"networks": brc.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("brc")
"""Ten gradient steps of naumix/BiggerRegularizedCategorical at eec512f for one task, from
perturbed weights; but for the distribution of actions, which was a stand-in for distrax's."""


def their_array(when, network, path):
    """Return the authors' array for one of our parameters."""
    layer, leaf = path[-2:]
    critic = "q_value_ensemble/q_value_ensemble/critic/"
    if "BroNet_0" in path:
        kind, number = layer.split("_")
        block, inside = divmod(int(number) - 1, 2)
        layer = f"BronetBlock_{block}/{kind}_{inside}" if int(number) else layer
        trunk = critic if network == "critic" else "BroNet_0/"
        return THEIRS[f"{when}/{trunk}{layer}/{leaf}"]
    return THEIRS[f"{when}/{f'{critic}Dense_1' if network == 'critic' else layer}/{leaf}"]


def test_ten_gradient_steps_are_the_authors():
    recorded.check(
        THEIRS,
        their_array,
        within={**recorded.all_within(1e-5), "log_alpha": 1e-6},
        # The targets move by 0.005 of the critics.
        moved=dict.fromkeys(("actor_params", "critic_params", "log_alpha"), 1e-3),
        rtol=1e-4,
        **STATIC,
    )


def test_the_target_is_that_of_the_averaged_distribution():
    # Atoms -1, 0, 1. One critic says (1/2, 1/2, 0), the other (0, 1/2, 1/2), the mean (1/4, 1/2,
    # 1/4). Returns are 1/2 z + 1/2, that is 0, 1/2 and 1, of which 1/2 falls on 0 and 1 alike.
    config = brc.Config(atoms=3, v_min=-1, v_max=1)
    logits = jnp.log(jnp.array([[[0.5, 0.5, 0.0]], [[0.0, 0.5, 0.5]]]))
    half, none = jnp.array([0.5]), jnp.array([0.0])
    rest = none, jnp.float32(0.1), config
    (found,) = categorical.soft_targets(half, half, brc.averaged(logits, config), *rest)
    np.testing.assert_allclose(found, [[0, 0.5, 0.5]], atol=1e-6)
    (one,) = categorical.soft_targets(half, half, categorical.smallest(logits, config), *rest)
    np.testing.assert_allclose(one, [[0, 0.75, 0.25]], atol=1e-6)  # the least optimistic critic's


def test_layers_begin_orthogonal_with_rows_of_norm_sqrt_2():
    params = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC).critic_params["params"]
    for kernel in params["VmapValue_0"]["BroNet_0"]["Dense_1"]["kernel"]:
        np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(16), atol=1e-5)
