"""BRC against the authors' code, and its average of distributions by hand."""

import pathlib
from functools import partial

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

THEIRS = dict(np.load(pathlib.Path(__file__).parent / "recorded/brc.npz"))
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


theirs = partial(recorded.laid_out_by, their_array)


def test_ten_gradient_steps_are_the_authors():
    state = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC)
    critic = theirs(state.critic_params, "initial/critic", "critic")
    state = state.replace(
        actor_params=theirs(state.actor_params, "initial/actor", "actor"),
        critic_params=critic,
        target_critic_params=jax.tree.map(jnp.copy, critic),
    )
    start = state
    state, history = recorded.replayed(state, THEIRS, **STATIC)
    for name, when, network in (
        ("actor_params", "final/actor", "actor"),
        ("critic_params", "final/critic", "critic"),
        ("target_critic_params", "final/target", "critic"),
    ):
        ours = getattr(state, name)
        close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
        jax.tree.map(close, ours, theirs(ours, when, network))
        if name != "target_critic_params":  # which moves by 0.005 of that
            moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), ours, getattr(start, name))
            assert min(jax.tree.leaves(moved)) > 1e-3, "or a tolerance of 1e-5 would show little"
    np.testing.assert_allclose(state.log_alpha, THEIRS["final/log_alpha"], atol=1e-6)
    assert abs(state.log_alpha - start.log_alpha) > 1e-3
    for tag, name in (
        ("train/critic_loss", "critic_loss"),
        ("train/actor_loss", "actor_loss"),
        ("train/ent_coef_loss", "temperature_loss"),
    ):
        np.testing.assert_allclose(recorded.values(history, tag), THEIRS[name], rtol=1e-4)


def test_the_target_is_that_of_the_averaged_distribution():
    # Atoms -1, 0, 1. One critic says (1/2, 1/2, 0), the other (0, 1/2, 1/2), the mean (1/4, 1/2,
    # 1/4). Returns are 1/2 z + 1/2, that is 0, 1/2 and 1, of which 1/2 falls on 0 and 1 alike.
    config = brc.Config(atoms=3, v_min=-1, v_max=1)
    logits = jnp.log(jnp.array([[[0.5, 0.5, 0.0]], [[0.0, 0.5, 0.5]]]))
    half, none = jnp.array([0.5]), jnp.array([0.0])
    found = brc.averaged_target(half, half, logits, none, jnp.float32(0.1), config)
    np.testing.assert_allclose(found, [[0, 0.5, 0.5]], atol=1e-6)
    one = categorical.soft_target(half, half, logits, none, jnp.float32(0.1), config)
    np.testing.assert_allclose(one, [[0, 0.75, 0.25]], atol=1e-6)  # the least optimistic critic's


def test_layers_begin_orthogonal_with_rows_of_norm_sqrt_2():
    params = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC).critic_params["params"]
    for kernel in params["VmapValue_0"]["BroNet_0"]["Dense_1"]["kernel"]:
        np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(16), atol=1e-5)
