"""SimbaV2 against the authors' code."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from helpers import recorded

from mjx_sac.algorithms import base, simbav2
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = simbav2.Config(
    actor_width=8, critic_width=16, atoms=21, batch_size=32, schedule_iterations=10
)
ALGORITHM = Algorithm(simbav2.losses, simbav2.networks, simbav2.optimizers, project=simbav2.project)
STATIC = {"networks": simbav2.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = dict(np.load(pathlib.Path(__file__).parent / "recorded/simbav2.npz"))
"""Ten gradient steps of DAVIAN-Robotics/SimbaV2 at 86899c27, from perturbed weights; but
for the distribution of actions, which was a stand-in for TensorFlow Probability's."""


def their_path(network, path) -> str:
    """Return their path to one of our parameters."""
    *_, layer, leaf = path
    kind, number = layer.split("_")
    if "Trunk_0" in path:
        block, inside = divmod(int(number) - 1, 2)
        names = {"UnitDense": ("mlp/w1", "mlp/w2"), "Scale": ("mlp/scaler", "alpha_scaler")}
        embedder = "embedder/w" if kind == "UnitDense" else "embedder/scaler"
        name = f"encoder/layers_{block}/{names[kind][inside]}" if int(number) else embedder
    else:
        hidden = next((part for part in path if part.startswith("Hidden")), None)
        head = {"Hidden_0": "mean_", "Hidden_1": "std_"}.get(
            hidden
        ) or f"{['mean', 'std'][int(number)]}_"
        head = head if network == "actor" else ""
        if leaf == "bias":
            return f"{prefix(network)}predictor/{head or 'value_'}bias"
        name = f"predictor/{head}{'scaler' if kind == 'Scale' else 'w1' if hidden else 'w2'}"
    end = "scaler" if kind == "Scale" else "hyper_dense/kernel"
    return f"{prefix(network)}{name}/{end}"


def prefix(network) -> str:
    return "VmapSimbaV2Critic_0/" if network == "critic" else ""


def theirs(like, when, network):
    """Return what was recorded, in the layout of our variables."""
    return recorded.laid_out(like, THEIRS, lambda path: f"{when}/{their_path(network, path)}")


def test_ten_gradient_steps_are_the_authors():
    state = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC)
    critic = theirs(state.critic_params, "initial/critic", "critic")
    state = state.replace(
        actor_params=theirs(state.actor_params, "initial/actor", "actor"),
        critic_params=critic,
        target_critic_params=jax.tree.map(jnp.copy, critic),
    )
    start = state.actor_params
    state, history = recorded.replayed(state, THEIRS, **STATIC)
    for ours, when, network in (
        (state.actor_params, "final/actor", "actor"),
        (state.critic_params, "final/critic", "critic"),
        (state.target_critic_params, "final/target", "critic"),
    ):
        expected = traverse_util.flatten_dict(theirs(ours, when, network))
        for path, found in traverse_util.flatten_dict(ours).items():
            np.testing.assert_allclose(found, expected[path], atol=1e-5, err_msg=str(path))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), start, state.actor_params)
    assert min(jax.tree.leaves(moved)) > 1e-4, "or a tolerance of 1e-5 would show little"
    np.testing.assert_allclose(state.log_alpha, THEIRS["final/log_alpha"], atol=1e-6)
    for tag, name in (
        ("train/critic_loss", "critic_loss"),
        ("train/actor_loss", "actor_loss"),
        ("train/ent_coef_loss", "temperature_loss"),
    ):
        np.testing.assert_allclose(recorded.values(history, tag), THEIRS[name], rtol=1e-4)
