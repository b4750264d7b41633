"""CrossQ against the authors' code."""

import numpy as np
import pytest
from helpers import recorded

from mjx_sac.algorithms import crossq
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = crossq.Config(actor_widths=(8, 8), critic_widths=(16, 16), batch_size=32)
ALGORITHM = Algorithm(crossq.losses, crossq.networks, crossq.optimizers)
STATIC = {"networks": crossq.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("crossq")
"""Ten gradient steps of adityab/CrossQ at a318a266, from perturbed weights and statistics; but
for the distribution of actions, which was a stand-in for TensorFlow Probability's. The critics'
renormalisation begins with the sixth, the actor's with its second."""

OURS = "actor_params", "actor_variables", "critic_params", "critic_variables"


def their_array(when, network, path):
    """Return their array for one of our variables: they have no module for the hidden layers."""
    collection, *_, layer, leaf = path
    if layer == "Dense_0" and "MLP_0" not in path and network == "critic":
        layer = "Dense_2"
    elif layer.startswith("Dense_") and "MLP_0" not in path:
        layer = f"Dense_{int(layer[-1]) + 2}"
    layer = layer.replace("BatchNorm", "BatchRenorm")
    leaf = {"batches": "steps"}.get(leaf, leaf)
    prefix = "VmapCritic_0/" if network == "critic" else ""
    return THEIRS[f"{when}/{collection}/{prefix}{layer}/{leaf}"]


def beginning(batches=None):
    """Return the state before the first of the recorded gradient steps.

    `batches` is how many all layers have seen before, by default as recorded.
    """

    def array(when, network, path):
        found = their_array(when, network, path)
        return found if batches is None or path[-1] != "batches" else np.full_like(found, batches)

    return recorded.beginning(array, OURS, **STATIC)


def test_ten_gradient_steps_are_the_authors():
    within = {**dict.fromkeys(OURS, 1e-5), "log_alpha": 1e-6}
    recorded.check(THEIRS, their_array, beginning(), within=within, rtol=1e-5, **STATIC)


def test_without_renormalisation_they_would_differ():
    _, history = recorded.replayed(beginning(batches=0), THEIRS, **STATIC)
    losses = recorded.values(history, "train/critic_loss")
    np.testing.assert_allclose(losses[:5], THEIRS["critic_loss"][:5], rtol=1e-5)
    assert (np.abs(losses[5:] / THEIRS["critic_loss"][5:] - 1) > 0.01).all()
