"""Distributions over returns: their projection on the atoms, their means, whose counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.algorithms import categorical

pytestmark = pytest.mark.smoke

CONFIG = categorical.Config(atoms=5, v_min=-1.0, v_max=3.0)
"""Atoms at -1, 0, 1, 2, 3."""


@functools.partial(jax.jit, static_argnums=(5, 6, 7))
def soft_target(reward, discount, logits, log_prob, alpha, atoms, v_min, v_max):
    config = categorical.Config(atoms=atoms, v_min=v_min, v_max=v_max)
    logits = categorical.smallest(logits, config)
    return categorical.soft_targets(reward, discount, logits, log_prob, alpha, config)[0]


@functools.partial(jax.jit, static_argnums=(5, 6, 7))
def own_soft_targets(reward, discount, logits, log_prob, alpha, atoms, v_min, v_max):
    config = categorical.Config(atoms=atoms, v_min=v_min, v_max=v_max)
    return categorical.soft_targets(reward, discount, logits, log_prob, alpha, config)


def target(reward, discount, logits, log_prob=0.0, alpha=0.0):
    """One row's, on the atoms of `CONFIG`, from the logits of each critic."""
    row = np.asarray(logits, np.float32)[:, None]
    numbers = (np.float32([x]) for x in (reward, discount))
    rest = np.float32([log_prob]), np.float32(alpha)
    return np.asarray(soft_target(*numbers, row, *rest, 5, -1.0, 3.0)[0])


def oracle(probabilities, returns, low, high):
    """Atom by atom: what lies between two atoms is split between them."""
    atoms = len(probabilities)
    width, projected = (high - low) / (atoms - 1), np.zeros(atoms)
    for probability, where in zip(probabilities, returns, strict=True):
        place = (min(max(where, low), high) - low) / width
        below = min(int(place), atoms - 2)
        projected[below] += probability * (1 - (place - below))
        projected[below + 1] += probability * (place - below)
    return projected


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(2, -5.0, 5.0), (5, -1.0, 3.0), (11, 0.0, 1.0)]),
    st.floats(-4, 4, width=32),
    st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    st.floats(0, 2, width=32),
)
def test_projection_equals_a_loop_over_atoms(seed, support, reward, discount, alpha):
    atoms, low, high = support
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, 4, atoms)).astype(np.float32)
    rewards = (reward + random.normal(size=4)).astype(np.float32)
    discounts = np.where(random.random(4) < 0.3, 0, discount).astype(np.float32)
    log_prob = random.normal(size=4).astype(np.float32)
    args = rewards, discounts, logits, log_prob, np.float32(alpha), *support
    found, own = soft_target(*args), own_soft_targets(*args)
    z = np.linspace(low, high, atoms)
    weights = np.exp(np.float64(logits))
    weights /= weights.sum(-1, keepdims=True)
    for i in range(4):
        row = weights[np.argmin(weights[:, i] @ z), i]
        returns = rewards[i] + discounts[i] * (z - alpha * log_prob[i])
        np.testing.assert_allclose(found[i], oracle(row, returns, low, high), atol=2e-5)
        for each, theirs in zip(own[:, i], weights[:, i], strict=True):
            np.testing.assert_allclose(each, oracle(theirs, returns, low, high), atol=2e-5)
        assert np.sum(found[i]) == pytest.approx(1, abs=1e-5)
        if low <= returns.min() and returns.max() <= high:
            assert found[i] @ z == pytest.approx(row @ returns, abs=1e-4), "the mean is kept"


SURE = np.log([1e-30, 1e-30, 1, 1e-30, 1e-30])
"""All at the atom 1."""


@pytest.mark.parametrize(
    ("reward", "discount", "expected"),
    [
        (0.0, 1.0, [0, 0, 1, 0, 0]),  # 1, on an atom
        (0.25, 1.0, [0, 0, 0.75, 0.25, 0]),
        (2.0, 1.0, [0, 0, 0, 0, 1]),  # 3, the last one
        (-2.0, 1.0, [1, 0, 0, 0, 0]),  # -1, the first one
        (9.0, 1.0, [0, 0, 0, 0, 1]),
        (-9.0, 1.0, [1, 0, 0, 0, 0]),
        (0.5, 0.0, [0, 0.5, 0.5, 0, 0]),  # terminated: the reward alone
        (1.0, 0.5, [0, 0, 0.5, 0.5, 0]),
    ],
)
def test_a_return_goes_to_the_two_atoms_around(reward, discount, expected):
    np.testing.assert_allclose(target(reward, discount, [SURE, SURE]), expected, atol=1e-6)


def test_each_atom_moves_by_the_entropy_bonus():
    # Atoms 1 - 0.5 * (-1) * 0.5 = 1.25 after discounting by 0.5: 0.5 * (1 + 0.5 * 1) = 0.75.
    found = target(0.0, 0.5, [SURE, SURE], log_prob=-1.0, alpha=0.5)
    np.testing.assert_allclose(found, [0, 0.25, 0.75, 0, 0], atol=1e-6)


def test_a_termination_spreads_nothing():
    found = target(2.25, 0.0, np.zeros((2, 5)), log_prob=3.0, alpha=1.0)
    np.testing.assert_allclose(found, [0, 0, 0, 0.75, 0.25], atol=1e-6)


def test_the_critic_with_the_smaller_mean_counts_row_by_row():
    low, high = np.log([1, 1e-30, 1e-30, 1e-30, 1e-30]), np.log([1e-30, 1e-30, 1e-30, 1e-30, 1])
    logits = np.float32([[low, high], [high, low]])  # of two critics in two rows
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    found = soft_target(zero, one, logits, zero, np.float32(0), 5, -1.0, 3.0)
    np.testing.assert_allclose(found, [[1, 0, 0, 0, 0]] * 2, atol=1e-6)


def test_equal_means_count_as_the_first_critics():
    # Both have the mean 1, one at its atom and one at the ends.
    ends = np.log([0.5, 1e-30, 1e-30, 1e-30, 0.5])
    np.testing.assert_allclose(target(0, 1, [SURE, ends]), [0, 0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(target(0, 1, [ends, SURE]), [0.5, 0, 0, 0, 0.5], atol=1e-6)


def test_mean_and_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.125, 0.0625, 0.0625]]))
    assert float(categorical.mean(logits, CONFIG)[0]) == pytest.approx(
        -0.5 + 0.125 + 0.125 + 0.1875
    )
    aim = jnp.array([[0.0, 0.5, 0.5, 0.0, 0.0]])
    found = categorical.cross_entropy(jnp.stack([logits, logits + 7.0]), aim)
    # Of the second critic, whose logits are as many nats higher, the same.
    np.testing.assert_allclose(found, [[1.5 * 2 * np.log(2) - 0.5 * np.log(2)]] * 2, rtol=1e-5)


def sizes(jaxpr):
    """The sizes of all arrays in a program, inner programs included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jax.tree.leaves([*equation.params.values()], is_leaf=_is_program):
            if _is_program(inner):
                yield from sizes(getattr(inner, "jaxpr", inner))


def _is_program(x):
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def test_no_array_pairs_atoms_with_atoms():
    batch, atoms = 7, 31
    config = categorical.Config(atoms=atoms)

    def loss(logits, target_logits, rewards):
        target_logits = categorical.smallest(target_logits, config)
        args = (rewards, rewards, target_logits, rewards, jnp.float32(0.1), config)
        aim = categorical.soft_targets(*args)
        return jnp.mean(categorical.cross_entropy(logits, aim))

    logits, rows = jnp.zeros((2, batch, atoms)), jnp.zeros(batch)
    program = jax.make_jaxpr(jax.grad(loss))(logits, logits, rows)
    assert logits.size <= max(sizes(program.jaxpr)) <= 2 * logits.size
