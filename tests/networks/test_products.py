"""Dense layers' products rounded to bfloat16, by NumPy."""

import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers.runs import make_config, make_experiment

from mjx_sac.networks.products import Dense, Join, precision, product
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.compiled import acting, normalizer
from mjx_sac.training.host import device, train

pytestmark = pytest.mark.smoke


def rounded(x):
    return np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float64)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradients(*parts, kernel, target):
    """Return a layer's output, and the gradients of its sum times `target`, at bfloat16."""

    def loss(parts, kernel):
        out = product(*parts, kernel=kernel)
        return jnp.sum(out * target), out

    with precision("bfloat16"):
        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(parts, kernel)


@pytest.mark.parametrize("width", [64, 80, 256])
def test_all_three_products_round_what_they_multiply(width):
    x, kernel, target = draw(96, 64), draw(64, width, seed=1), draw(96, width, seed=2)
    ((by_x,), by_kernel), out = gradients(x, kernel=kernel, target=target)
    np.testing.assert_allclose(out, rounded(x) @ rounded(kernel), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(by_x, rounded(target) @ rounded(kernel).T, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(by_kernel, rounded(x).T @ rounded(target), rtol=1e-5, atol=1e-4)
    exact = x.astype(np.float64) @ kernel
    assert np.abs(out - exact).max() > 1e-2  # it is rounded, and by no more than its 8 bits
    assert np.abs(out - exact).max() < 2**-8 * (np.abs(x) @ np.abs(kernel)).max()
    assert out.dtype == by_x.dtype == by_kernel.dtype == jnp.float32


def test_parts_side_by_side_are_one_product():
    parts, kernel, target = (draw(64, 60), draw(64, 9, seed=3)), draw(69, 64), draw(64, 64, seed=4)
    (by_parts, by_kernel), out = gradients(*parts, kernel=kernel, target=target)
    features = rounded(np.concatenate(parts, axis=1))
    by_features = rounded(target) @ rounded(kernel).T
    np.testing.assert_allclose(out, features @ rounded(kernel), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.hstack(by_parts), by_features, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(by_kernel, features.T @ rounded(target), rtol=1e-5, atol=1e-4)


def test_an_ensemble_rounds_each_of_its_networks_products():
    x, kernels, target = draw(3, 64, 64), draw(3, 64, 64, seed=1), draw(64, 64, seed=2)
    many = jax.vmap(lambda x, kernel: gradients(x, kernel=kernel, target=target))
    (_, by_kernel), out = many(x, kernels)
    for i in range(3):
        np.testing.assert_allclose(out[i], rounded(x[i]) @ rounded(kernels[i]), atol=1e-4)
        np.testing.assert_allclose(by_kernel[i], rounded(x[i]).T @ rounded(target), atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(64, 63, 64), (64, 64, 63), (48, 64, 64), (65, 64, 64)]
)
def test_narrow_layers_and_odd_batches_are_left_alone(rows, inputs, outputs):
    x, kernel = draw(rows, inputs), draw(inputs, outputs, seed=1)
    ((by_x,), by_kernel), out = gradients(x, kernel=kernel, target=np.float32(1))
    np.testing.assert_allclose(out, x @ kernel, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_x, np.tile(kernel.sum(1), (rows, 1)), rtol=1e-5, atol=1e-5)
    ones = np.ones((1, outputs), np.float32)
    np.testing.assert_allclose(by_kernel, x.sum(0)[:, None] * ones, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["default", "high", "highest"])
def test_other_precisions_round_nothing_on_a_cpu(name):
    x, kernel = draw(64, 64), draw(64, 64, seed=1)
    with precision(name):
        out = jax.jit(lambda x, kernel: product(x, kernel=kernel))(x, kernel)
    np.testing.assert_allclose(out, x @ kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [Dense(64), Join(64)])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (2, 32, 64)])
def test_layers_take_any_batch_and_add_a_bias(layer, shape):
    x = draw(*shape)
    params = layer.init(jax.random.PRNGKey(0), x)
    params["params"]["bias"] += 0.5
    with precision("bfloat16"):
        out = layer.apply(params, x)
    kernel = np.asarray(params["params"]["kernel"])
    wide = x.size // 64 >= 64
    expected = rounded(x) @ rounded(kernel) if wide else x @ kernel
    np.testing.assert_allclose(out, expected + 0.5, rtol=1e-4, atol=1e-4)
    assert out.shape == shape


def test_policies_act_in_float32():
    # What acts in training is what is exported and evaluated.
    observation, found = jnp.array(draw(64, 2)), {}
    for name in ("bfloat16", "default"):
        made = make_experiment(matmul_precision=name, hidden_sizes=(64, 64))
        actor = made.networks.actor.init(jax.random.PRNGKey(0), observation)
        static = {"networks": made.networks, "config": made.config}
        found[name] = acting.distribution(actor, normalizer.init(2), observation, **static).mode()
    np.testing.assert_array_equal(found["bfloat16"], found["default"])


def test_runs_that_round_are_resumed_bit_for_bit_and_learn_other_numbers(
    tmp_path, capsys, monkeypatch
):
    def run(name, **changes):
        sizes = {"hidden_sizes": (64, 64), "batch_size": 64}
        settings = {"env": "helpers.envs:Counter", "logdir": str(tmp_path / name), **sizes}
        return train.train(make_config(**settings, **changes)).state

    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: False)
    whole, exact = run("whole", matmul_precision="bfloat16"), run("exact")
    assert capsys.readouterr().out.count(device.NO_BFLOAT16) == 1
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for step in (96, 128):
        shutil.rmtree(checkpoint_path(tmp_path / "half", step))
    resumed = run("half", matmul_precision="bfloat16")
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    leaves = zip(*map(jax.tree.leaves, (whole.train, exact.train)), strict=True)
    differences = [float(jnp.max(jnp.abs(a - b))) for a, b in leaves]
    assert 0 < max(differences) < 0.1
