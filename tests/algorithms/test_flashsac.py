"""FlashSAC against the authors' own code, and its exploration noise."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mjx_sac.algorithms import base, flashsac, loader
from mjx_sac.config import build
from mjx_sac.types import Transition

pytestmark = pytest.mark.smoke

CONFIG = build(
    flashsac.Config,
    {
        "losses": "flashsac",
        "actor_width": 8,
        "critic_width": 16,
        "atoms": 21,
        "batch_size": 32,
        "schedule_iterations": 10,
    },
)

LAYERS = {
    "embedder.norm": "Trunk_0/BatchNorm_0",
    "embedder.w": "Trunk_0/UnitDense_0",
    **{
        f"encoder.{block}.{kind}{i}": f"Trunk_0/{ours}_{2 * block + i}"
        for block in (0, 1)
        for i in (1, 2)
        for kind, ours in (("w", "UnitDense"), ("norm", "BatchNorm"))
    },
    "post_norm": "Trunk_0/RMSNorm_0",
}
"""The authors' names of layers, and ours."""

HEADS = {
    "actor": {
        "predictor.mean_w.w.weight": "UnitDense_0/kernel",
        "predictor.mean_bias": "UnitDense_0/bias",
        "predictor.std_w.w.weight": "UnitDense_1/kernel",
        "predictor.std_bias": "UnitDense_1/bias",
    },
    "critic": {"predictor.w.weight": "UnitDense_0/kernel", "predictor.bias": "UnitDense_0/bias"},
}

RECORDED = dict(np.load(pathlib.Path(__file__).parent / "recorded/flashsac.npz"))
"""Ten gradient steps of Holiday-Robot/FlashSAC at 87edc906, run on PyTorch."""


def translate(prefix, network) -> dict:
    """Return a network's recorded state as our variables."""
    variables = {}
    for name, value in RECORDED.items():
        if not name.startswith(f"{prefix}/"):
            continue
        name = name.removeprefix(f"{prefix}/")
        if (collection, path := HEADS[network].get(name))[1]:
            collection = "params"
        else:
            layer, leaf = name.removesuffix(".w.weight").rsplit(".", 1) if False else (None, None)
        variables[collection, *path.split("/")] = value
    return variables
