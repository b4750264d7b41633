"""CrossQ against the authors' code."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from helpers import recorded

from mjx_sac.algorithms import base, crossq
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = crossq.Config(actor_widths=(8, 8), critic_widths=(16, 16), batch_size=32)
ALGORITHM = Algorithm(crossq.losses, crossq.networks, crossq.optimizers)
STATIC = {"networks": crossq.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = dict(np.load(pathlib.Path(__file__).parent / "recorded/crossq.npz"))
"""Ten gradient steps of adityab/CrossQ at a318a266, from perturbed weights and statistics; but
for the distribution of actions, which was a stand-in for TensorFlow Probability's. The critics'
renormalisation begins with the sixth, the actor's with its second."""


OURS = "actor_params", "actor_variables", "critic_params", "critic_variables"


def their_path(network, path) -> str:
    """Return their path to one of our variables: they have no module for the hidden layers."""
    collection, *_, layer, leaf = path
    if layer == "Dense_0" and "MLP_0" not in path and network == "critic":
        layer = "Dense_2"
    elif layer.startswith("Dense_") and "MLP_0" not in path:
        layer = f"Dense_{int(layer[-1]) + 2}"
    layer = layer.replace("BatchNorm", "BatchRenorm")
    leaf = {"batches": "steps"}.get(leaf, leaf)
    prefix = "VmapCritic_0/" if network == "critic" else ""
    return f"{network}/{collection}/{prefix}{layer}/{leaf}"


def theirs(like, when, network):
    """Return what was recorded, in the layout of our variables."""
    return recorded.laid_out(like, THEIRS, lambda path: f"{when}/{their_path(network, path)}")


def trained(batches=None):
    """Return the state after the recorded gradient steps, and what was measured in each.

    `batches` is how many all layers have seen before, by default as recorded.
    """
    state = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC)
    given = {name: theirs(getattr(state, name), "initial", name.partition("_")[0]) for name in OURS}
    if batches is not None:
        given = jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.full_like(x, batches) if path[-1].key == "batches" else x, given
        )
    return recorded.replayed(state.replace(**given), THEIRS, **STATIC)


def test_ten_gradient_steps_are_the_authors():
    state, history = trained()
    assert state.target_critic_params is None
    for name in OURS:
        found = traverse_util.flatten_dict(getattr(state, name))
        expected = theirs(getattr(state, name), "final", name.partition("_")[0])
        for path, value in traverse_util.flatten_dict(expected).items():
            np.testing.assert_allclose(found[path], value, atol=1e-5, err_msg=str(path))
    np.testing.assert_allclose(state.log_alpha, THEIRS["final/log_alpha"], atol=1e-6)
    for tag, name in (
        ("train/critic_loss", "critic_loss"),
        ("train/actor_loss", "actor_loss"),
        ("train/ent_coef_loss", "temperature_loss"),
    ):
        np.testing.assert_allclose(recorded.values(history, tag), THEIRS[name], rtol=1e-5)


def test_without_renormalisation_they_would_differ():
    _, history = trained(batches=0)
    losses = recorded.values(history, "train/critic_loss")
    np.testing.assert_allclose(losses[:5], THEIRS["critic_loss"][:5], rtol=1e-5)
    assert (np.abs(losses[5:] / THEIRS["critic_loss"][5:] - 1) > 0.01).all()
