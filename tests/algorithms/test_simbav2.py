"""SimbaV2 against the authors' code."""

import pytest
from helpers import recorded

from mjx_sac.algorithms import simbav2
from mjx_sac.algorithms.base import Algorithm

pytestmark = pytest.mark.smoke

CONFIG = simbav2.Config(
    actor_width=8, critic_width=16, atoms=21, batch_size=32, schedule_iterations=10
)
ALGORITHM = Algorithm(simbav2.losses, simbav2.networks, simbav2.optimizers, project=simbav2.project)
STATIC = {"networks": simbav2.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("simbav2")
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


def their_array(when, network, path):
    """Return the authors' array for one of our parameters."""
    return THEIRS[f"{when}/{their_path(network, path)}"]


def test_ten_gradient_steps_are_the_authors():
    recorded.check(
        THEIRS,
        their_array,
        within={**recorded.all_within(1e-5), "log_alpha": 1e-6},
        moved={"actor_params": 1e-4},
        rtol=1e-4,
        **STATIC,
    )
