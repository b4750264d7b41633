"""Normalised layers by hand, and the norms of parameters through real gradient steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.algorithms import TINY, layers
from helpers.networks import real_batch, updated
from helpers.runs import make_experiment
from jax.extend.core import jaxprs_in_params

from mjx_sac.algorithms import blocks
from mjx_sac.algorithms.blocks import (
    BatchNorm,
    RMSNorm,
    UnitDense,
    ensemble,
    unit_kernels,
    unit_layers,
)

pytestmark = pytest.mark.smoke

RANDOM = np.random.default_rng(0)
ROWS = np.concatenate([RANDOM.normal(0, 1, (6, 3)), RANDOM.normal(5, 3, (6, 3))]).astype(np.float32)
"""Two halves that have little in common."""


def batch_norm(train, **how):
    """A module, and its variables with scale 2 and bias 1."""
    module = BatchNorm(train, **how)
    variables = module.init(jax.random.PRNGKey(0), ROWS)
    params = {"scale": jnp.full(3, 2.0), "bias": jnp.ones(3)}
    return module, {**variables, "params": params}


@pytest.mark.parametrize("unbiased", [True, False])
def test_batch_norm_takes_all_rows_together(unbiased):
    module, variables = batch_norm(True, momentum=0.75, epsilon=0.5, unbiased=unbiased)
    out, after = module.apply(variables, ROWS, mutable=["batch_stats"])
    mean, var = ROWS.mean(0), ROWS.var(0)
    np.testing.assert_allclose(out, 2 * (ROWS - mean) / np.sqrt(var + 0.5) + 1, atol=1e-5)
    stats, kept = after["batch_stats"], ROWS.var(0, ddof=int(unbiased))
    np.testing.assert_allclose(stats["mean"], 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * kept, rtol=1e-5)


def test_gradients_of_batch_norm_are_those_of_its_formula():
    module, variables = batch_norm(True, epsilon=0.5)
    weights = RANDOM.normal(size=ROWS.shape).astype(np.float32)

    def formula(rows, params):
        normal = (rows - rows.mean(0)) / jnp.sqrt(rows.var(0) + 0.5)
        return jnp.sum(weights * jnp.square(normal * params["scale"] + params["bias"]))

    def ours(rows, params):
        out, _ = module.apply({**variables, "params": params}, rows, mutable=["batch_stats"])
        return jnp.sum(weights * jnp.square(out))

    expected, found = (jax.grad(f, (0, 1))(ROWS, variables["params"]) for f in (formula, ours))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected
    )


def test_sums_in_one_kernel_are_the_sums():
    pair = ROWS, RANDOM.normal(size=ROWS.shape).astype(np.float32)
    together = blocks._in_one_kernel(*map(jnp.asarray, pair))
    for one, array in zip(together, pair, strict=True):
        np.testing.assert_allclose(one, array.sum(0), rtol=1e-5, atol=1e-5)


def test_batch_norm_of_what_hardly_varies():
    """Far from its running mean a variance is rounded, never below 0; near, it is the batch's."""
    rows = 1000 + 0.1 * ROWS
    module, variables = batch_norm(True, epsilon=1e-5)
    constant, _ = module.apply(variables, jnp.full_like(rows, 1234.567), mutable=["batch_stats"])
    np.testing.assert_allclose(constant, 1, atol=0.2)  # 1234.567 is rounded to 1e-4, over 3e-3
    stats = {"mean": jnp.full(rows.shape[1], 1000.2), "var": variables["batch_stats"]["var"]}
    out, _ = module.apply({**variables, "batch_stats": stats}, rows, mutable=["batch_stats"])
    exact = rows.astype(np.float64)
    expected = 2 * (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5) + 1
    np.testing.assert_allclose(out, expected, rtol=5e-3, atol=5e-3)


def test_batch_norm_acts_by_its_running_statistics():
    module, variables = batch_norm(False, epsilon=0.0)
    running = {"mean": jnp.array([1.0, 2.0, 3.0]), "var": jnp.array([1.0, 4.0, 16.0])}
    variables = {**variables, "batch_stats": running}
    out, after = module.apply(variables, ROWS, mutable=["batch_stats"])
    np.testing.assert_allclose(out, 2 * (ROWS - [1, 2, 3]) / [1, 2, 4] + 1, rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], running)


def test_renormalised_rows_are_those_of_the_running_statistics_within_bounds():
    module, variables = batch_norm(True, epsilon=1e-6, renorm_after=2)
    mean, std = ROWS.mean(0), ROWS.std(0)
    # The first column is within all bounds; then a batch that is too far away; one too wide.
    known = {"mean": mean + std * [0.5, -30, 0], "var": (std * [1.5, 1, 0.1]) ** 2}
    wanted = np.stack(
        [
            (ROWS[:, 0] - known["mean"][0]) / (1.5 * std[0]),
            (ROWS[:, 1] - mean[1]) / std[1] + 5,
            (ROWS[:, 2] - mean[2]) / std[2] * 3,
        ],
        axis=1,
    )
    for batches, rows in ((1, (ROWS - mean) / std), (2, wanted)):
        stats = {**known, "batches": jnp.int32(batches)}
        out, after = module.apply(
            {**variables, "batch_stats": stats}, ROWS, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(out, 2 * rows + 1, rtol=1e-4, atol=1e-4)
        assert after["batch_stats"]["batches"] == batches + 1

    def total(x):
        return jnp.sum(module.apply({**variables, "batch_stats": stats}, x) ** 2)

    gradient = jax.grad(total)(jnp.asarray(ROWS))
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-3)  # through the batch's statistics


def test_batch_norm_moves_nothing_that_is_not_mutable():
    module, variables = batch_norm(True)
    out = module.apply(variables, ROWS)  # which would raise if it tried
    np.testing.assert_allclose(np.mean(out, axis=0), 1, atol=1e-5)
    initial = {"mean": np.zeros(3), "var": np.ones(3)}
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], initial)


def test_rms_norm_by_hand():
    # The mean of squares of (3, 4) is 12.5.
    variables = {"params": {"scale": jnp.array([1.0, 2.0])}}
    out = RMSNorm().apply(variables, jnp.array([[3.0, 4.0]]))
    np.testing.assert_allclose(out, [[3 / 12.5**0.5, 8 / 12.5**0.5]], rtol=1e-5)


TREE = {
    "head": {"kernel": jnp.array([[3.0, 0.0], [4.0, 0.0]]), "bias": jnp.array([5.0, 6.0])},
    "critics": {"inner": {"kernel": jnp.full((2, 4, 3), 7.0)}},
    "norm": {"scale": jnp.array([[3.0, 1.0], [0.0, 0.0]]), "bias": jnp.array([[1.0, 5.0]] * 2)},
    "rms": {"scale": jnp.array([3.0, 4.0])},
}
"""Layers with one parameter and with two, of one network and of two, with a column of zeros."""


def test_kernels_have_columns_of_norm_one():
    made = unit_kernels(TREE)
    np.testing.assert_allclose(made["head"]["kernel"], [[0.6, 0], [0.8, 0]], rtol=1e-6)
    np.testing.assert_allclose(made["critics"]["inner"]["kernel"], np.full((2, 4, 3), 0.5))
    for untouched in ("norm", "rms"):
        jax.tree.map(np.testing.assert_array_equal, made[untouched], TREE[untouched])
    np.testing.assert_array_equal(made["head"]["bias"], TREE["head"]["bias"])


def test_norm_layers_have_together_the_root_of_their_width():
    # 3^2 + 1^2 + 1^2 + 5^2 = 36, of the second critic 26: to be 2.
    made = unit_layers(TREE)
    factors = np.sqrt([[2 / 36], [2 / 26]])
    for name in ("scale", "bias"):
        expected = factors * TREE["norm"][name]
        np.testing.assert_allclose(made["norm"][name], expected, rtol=1e-6)
    np.testing.assert_allclose(made["rms"]["scale"], np.sqrt(2) * np.array([0.6, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(made["head"]["kernel"], [[0.6, 0], [0.8, 0]], rtol=1e-6)
    np.testing.assert_array_equal(made["head"]["bias"], TREE["head"]["bias"])


def test_zeros_stay_numbers():
    blank = jax.tree.map(jnp.zeros_like, TREE)
    jax.tree.map(np.testing.assert_array_equal, unit_layers(blank), blank)


UNIT = ("flashsac", "xqc", "simbav2")
"""Those whose kernels are kept at norm 1."""


@functools.cache
def history(name):
    """The states before and after each of six gradient steps."""
    return updated(6, file=name, **TINY[name])[0]


def norms(name, params):
    """How far each layer's norms are from what they are kept at."""
    for path, layer in layers(params).items():
        if "kernel" in layer:
            yield path, np.linalg.norm(layer["kernel"], axis=-2) - 1
        elif name == "flashsac":
            together = np.concatenate([*layer.values()], axis=-1)
            yield path, np.linalg.norm(together, axis=-1) / layer["scale"].shape[-1] ** 0.5 - 1


@pytest.mark.parametrize("name", UNIT)
def test_norms_hold_from_the_start_and_after_each_step(name):
    for step, state in enumerate(history(name)):
        for params in (state.actor_params, state.critic_params):
            for path, apart in norms(name, params):
                assert np.abs(apart).max() < 1e-5, (step, path)
    last = history(name)[-1]
    for params in (last.actor_params, last.critic_params):
        free = [x for path, x in layers(params).items() if "BatchNorm" in path]
        width = [np.sum(np.square(x["scale"])) / x["scale"].size for x in free]
        assert not free or (np.abs(np.array(width) - 1) > 1e-4).any(), "scales move"
        heads = [x["bias"] for x in layers(params).values() if {"kernel", "bias"} == {*x}]
        assert all(np.abs(bias).max() > 1e-3 for bias in heads), "so do biases"


@pytest.mark.parametrize("name", UNIT)
def test_targets_and_temperature_are_not_projected(name):
    before, after = history(name)[-2:]
    middle = jax.tree.map(
        lambda x, y: 0.5 * (x + y), after.critic_params, before.target_critic_params
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        after.target_critic_params,
        middle,
    )
    shrunk = [x for path, x in norms(name, after.target_critic_params) if "Dense" in path]
    assert max(np.abs(x).max() for x in shrunk) > 1e-5, "a mean of unit vectors is shorter"
    assert float(after.log_alpha) != float(history(name)[0].log_alpha)


def test_scales_of_xqcs_batch_norm_are_free():
    last = history("xqc")[-1]
    together = [
        np.sum(np.square(x["scale"]) + np.square(x["bias"])) / x["scale"].size
        for path, x in layers(last.critic_params).items()
        if "BatchNorm" in path
    ]
    assert max(np.abs(np.array(together) - 1)) > 0.01


@pytest.mark.parametrize(("name", "unbiased"), [("flashsac", 1), ("xqc", 0)])
def test_statistics_after_a_step_are_those_of_both_halves(name, unbiased):
    # The input's: of s and s'; FlashSAC's actor sees both as well, XQC's only s.
    batch = real_batch(make_experiment(file=name, **TINY[name]).config)
    both = np.concatenate([batch.observation, batch.next_observation])
    after = history(name)[1]
    seen = both if name == "flashsac" else np.asarray(batch.observation)
    of_actor = layers(after.actor_variables["batch_stats"])["Trunk_0/BatchNorm_0"]
    of_critics = layers(after.critic_variables["batch_stats"])
    [of_critics] = [x for path, x in of_critics.items() if path.endswith("Trunk_0/BatchNorm_0")]
    for critic in range(2):
        for stats, rows in (
            (of_actor, seen),
            ({k: x[critic, :2] for k, x in of_critics.items()}, both),
        ):
            np.testing.assert_allclose(stats["mean"], 0.01 * rows.mean(0), atol=1e-6)
            var = 0.99 + 0.01 * rows.var(0, ddof=unbiased)
            np.testing.assert_allclose(stats["var"], var, rtol=1e-5)


def test_no_decomposition_is_batched():
    """Batched ones wait for other threads of the pool they run in: two at once, for ever."""

    @jax.vmap
    def init(key):
        return ensemble(UnitDense, 2)(8).init(key, jnp.ones((2, 1, 4)))

    def shapes(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name in ("qr", "geqrf", "householder_product"):
                yield eqn.invars[0].aval.shape
            for inner in jaxprs_in_params(eqn.params):
                yield from shapes(inner)

    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    found = [*shapes(jax.make_jaxpr(init)(keys).jaxpr)]
    assert found
    assert all(len(shape) == 2 for shape in found)
    kernel = init(keys)["params"]["kernel"]  # [keys, critics, inputs, width]
    assert kernel.shape == (3, 2, 4, 8)
    product = kernel @ jnp.swapaxes(kernel, -1, -2)
    np.testing.assert_allclose(product, jnp.broadcast_to(jnp.eye(4), product.shape), atol=1e-5)
    assert len(np.unique(kernel[..., 0, 0])) == 6
