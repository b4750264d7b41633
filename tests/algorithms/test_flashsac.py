"""FlashSAC against the authors' own code, and its exploration noise."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import recorded

from mjx_sac.algorithms import flashsac
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.networks import TanhGaussian

pytestmark = pytest.mark.smoke

CONFIG = flashsac.Config(
    actor_width=8, critic_width=16, atoms=21, batch_size=32, schedule_iterations=10
)
ALGORITHM = Algorithm(
    flashsac.losses, flashsac.networks, flashsac.optimizers, flashsac.project, flashsac.explore
)
STATIC = {"networks": flashsac.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("flashsac")
"""Ten gradient steps of Holiday-Robot/FlashSAC at 87edc906 on PyTorch, from perturbed weights."""

HEADS = {
    ("actor", "UnitDense_0"): ("mean_w.w", "mean_bias"),
    ("actor", "UnitDense_1"): ("std_w.w", "std_bias"),
    ("critic", "UnitDense_0"): ("w", "bias"),
}
LEAVES = {
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def their_name(network, path) -> str:
    """Return the authors' name of one of our variables."""
    *_, layer, leaf = path
    if "Trunk_0" not in path:
        weight, bias = HEADS[network, layer]
        return f"predictor.{bias if leaf == 'bias' else f'{weight}.weight'}"
    kind, number = layer.split("_")
    block, place = divmod(int(number) - 1, 2)
    inner = ".w" if network == "actor" else ""
    if kind == "RMSNorm":
        return "post_norm.weight"
    if kind == "UnitDense":
        where = "embedder.w" if number == "0" else f"encoder.{block}.w{place + 1}"
        return f"{where}{inner}.weight"
    where = "embedder.norm" if number == "0" else f"encoder.{block}.norm{place + 1}"
    return f"{where}.{LEAVES[leaf]}"


def their_array(when, network, path):
    """Return the authors' array for one of our variables."""
    value = THEIRS[f"{when}/{their_name(network, path)}"]
    return np.swapaxes(value, -1, -2) if path[-1] == "kernel" else value


def test_ten_gradient_steps_are_the_authors():
    variables = dict.fromkeys(("actor_variables", "critic_variables"), 1e-5)
    within = {**recorded.all_within(1e-5), **variables, "target_critic_params": 5e-6}
    recorded.check(THEIRS, their_array, within=within, rtol=1e-5, atol=1e-5, **STATIC)


@functools.cache
def held(**changes):
    """Return what was drawn in each of 20,000 vector steps of three environments."""
    config = CONFIG.model_copy(update=changes)
    started = jnp.ones(3, bool)  # which makes no difference
    wide = TanhGaussian(jnp.full((3, 2), 0.5), jnp.full((3, 2), 0.25))

    def step(noise, key):
        action, noise = flashsac.explore.act(wide, noise, started, key, config)
        return noise, (action, noise.value)

    start = flashsac.explore.init(jax.random.PRNGKey(0), 3, 2, config)
    keys = jax.random.split(jax.random.PRNGKey(1), 20_000)
    _, (action, value) = jax.jit(partial(jax.lax.scan, step))(start, keys)
    np.testing.assert_allclose(action, jnp.tanh(0.5 + 0.25 * value), rtol=1e-5)
    return np.asarray(value)


def lengths(value):
    """Return for how many vector steps each draw was held, in every environment."""
    changed = np.flatnonzero((np.diff(value, axis=0) != 0).any(axis=(1, 2)))
    assert (np.diff(value, axis=0)[changed] != 0).all(), "all environments draw at once"
    return np.diff(changed)


def test_noise_is_held_for_lengths_that_follow_their_law():
    value, odds = held(), 1 / np.arange(1, 17) ** 2
    found = np.bincount(lengths(value), minlength=17)
    assert (found[0], len(found)) == (0, 17)
    expected = found.sum() * odds / odds.sum()
    # Of 15 degrees of freedom: above 37.7 once in a thousand.
    assert np.sum(np.square(found[1:] - expected) / expected) < 37.7
    fresh = value[np.append(True, (np.diff(value, axis=0) != 0).any(axis=(1, 2)))]
    flat = fresh.reshape(len(fresh), -1)
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(flat.std(0), 1, atol=0.05)
    correlation = np.corrcoef(np.concatenate([flat[1:], flat[:-1]], axis=1).T) - np.eye(12)
    assert np.abs(correlation).max() < 0.06, "of environments, actions, and draws in a row"


def test_an_exponent_of_zero_holds_for_every_length_alike():
    found = np.bincount(lengths(held(noise_exponent=0.0, noise_steps=3)))
    np.testing.assert_allclose(found[1:] / found.sum(), 1 / 3, atol=0.02)


def test_noise_that_is_not_held_is_fresh_in_each_step():
    assert set(lengths(held(noise_steps=1))) == {1}
