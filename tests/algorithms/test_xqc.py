"""XQC against another implementation."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from helpers import recorded

from mjx_sac.algorithms import base, xqc
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = xqc.Config(
    actor_widths=(8,) * 4,
    critic_widths=(16,) * 4,
    atoms=21,
    batch_size=32,
    schedule_iterations=5,
)
ALGORITHM = Algorithm(xqc.losses, xqc.networks, xqc.optimizers, xqc.project)
STATIC = {"networks": xqc.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = dict(np.load(pathlib.Path(__file__).parent / "recorded/xqc.npz"))
"""Ten gradient steps of nico-bohlinger/RL-X at 46d8e266 on Flax, from perturbed weights."""

HEADS = {
    ("actor", "UnitDense_0"): "mean",
    ("actor", "UnitDense_1"): "log_std",
    ("critic", "UnitDense_0"): "value",
}


def their_path(network, path) -> str:
    """Return their path to one of our variables, below the collection."""
    *_, layer, leaf = path
    prefix = "VmapCritic_0/" if network == "critic" else ""
    if "Trunk_0" not in path:
        return f"{prefix}{HEADS[network, layer]}/{leaf}"
    kind, number = layer.split("_")
    if kind == "UnitDense":
        return f"{prefix}block_{number}/Dense_0/{leaf}"
    block = "embedder" if number == "0" else f"block_{int(number) - 1}"
    return f"{prefix}{block}/BatchNorm_0/{leaf}"


def theirs(like, prefix, network):
    """Return what was recorded, in the layout of our variables."""
    name = lambda path: f"{prefix}/{path[0]}/{their_path(network, path)}"  # noqa: E731
    return recorded.laid_out(like, THEIRS, name)


def differences(ours, prefix, network) -> dict[str, float]:
    """Return the largest difference of each of our variables to what was recorded."""
    expected = traverse_util.flatten_dict(theirs(ours, prefix, network))
    found = traverse_util.flatten_dict(ours)
    return {"/".join(p): float(jnp.abs(found[p] - expected[p]).max()) for p in found}


def test_ten_gradient_steps_are_the_other_implementations():
    state = base.init(jax.random.PRNGKey(0), 5, 3, **STATIC)
    critic = theirs(state.critic_params, "initial/critic", "critic")
    state = state.replace(
        actor_params=theirs(state.actor_params, "initial/actor", "actor"),
        critic_params=critic,
        target_critic_params=jax.tree.map(jnp.copy, critic),
        since_actor_update=jnp.int32(2),  # their actor moves on the first step
    )
    state, history = recorded.replayed(state, THEIRS, **STATIC)
    for ours, prefix, network, tolerance in (
        (state.actor_params, "final/actor", "actor", 1e-5),
        (state.actor_variables, "final/actor", "actor", 1e-4),
        (state.critic_params, "final/critic", "critic", 1e-5),
        (state.critic_variables, "final/critic", "critic", 1e-4),
        (state.target_critic_params, "final/target", "critic", 5e-6),
    ):
        for name, difference in differences(ours, prefix, network).items():
            # The next layer subtracts the mean, so the gradient of this bias is zero but for
            # rounding, of which Adam makes whole steps: theirs differs from run to run too.
            free = name.endswith("Trunk_0/BatchNorm_0/bias")
            assert difference < (3e-3 if free else tolerance), (prefix, name)
    np.testing.assert_allclose(state.log_alpha, THEIRS["final/log_alpha"], atol=1e-5)
    for tag, name in (
        ("train/critic_loss", "critic_loss"),
        ("train/actor_loss", "actor_loss"),
        ("train/ent_coef_loss", "temperature_loss"),
    ):
        np.testing.assert_allclose(recorded.values(history, tag), THEIRS[name], atol=1e-4)
