"""Layers of normalised networks, what keeps their parameters in bounds, and their learning rates.

Modules here take `train`: whether BatchNorm normalises by the batch (and moves its running
statistics, in the collection "batch_stats", where that is mutable) or by its running statistics.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from mjx_sac.algorithms.base import Optimizers
from mjx_sac.networks import MLP, copies
from mjx_sac.networks.products import product
from mjx_sac.types import Key, Operation, Params


def orthogonal(
    key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32, scale: float = 1.0
) -> jax.Array:
    """Return orthogonal columns or rows, `scale` long; of several critics, one after another.

    JAX's batched decompositions wait inside a thread of XLA's CPU for others of the same pool: with
    two cores, two of them at once waited for ever.
    """

    def draw(key: Key) -> jax.Array:
        return nn.initializers.orthogonal(scale)(key, shape, dtype)

    return jax.custom_batching.sequential_vmap(draw)(key)


class BatchNorm(nn.Module):
    """BatchNorm (Ioffe and Szegedy, 2015, arXiv:1502.03167) over all rows, with scale and bias.

    Flax's keeps the biased variance in its running statistics, as `unbiased=False` here does.

    Attributes:
      train: see the module.
      momentum: share of the running statistics that a batch leaves.
      epsilon: added to the variance.
      unbiased: keep the variance of n - 1 degrees of freedom, as PyTorch does.
      renorm_after: batches after which it is BatchRenorm (Ioffe, 2017, arXiv:1702.03275), whose
        gradients are those of a batch and whose output is, within bounds, that of the running
        statistics; None for never.
    """

    train: bool
    momentum: float = 0.99
    epsilon: float = 1e-5
    unbiased: bool = True
    renorm_after: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        batches = self._batches() if self.renorm_after is not None else None
        known = running_mean.value, running_var.value
        if not self.train:
            return self._normalize(x, known, scale, bias)
        # One pass for both sums, a launch less on a GPU; about the running mean little cancels.
        shifted, rows = x - known[0], len(x)
        shift = jnp.mean(shifted, axis=0)
        var = jnp.maximum(jnp.mean(jnp.square(shifted), axis=0) - jnp.square(shift), 0)
        mean = known[0] + shift
        moving = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        if moving:
            seen = var * (rows / (rows - 1)) if self.unbiased else var
            for running, new in ((running_mean, mean), (running_var, seen)):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        if batches is None:
            return _by_batch(x, mean, 1 / jnp.sqrt(var + self.epsilon), scale, bias)
        renormed, late = self._renormed(mean, var, *known), batches.value >= self.renorm_after
        if moving:
            batches.value += 1
        used = jax.tree.map(partial(jnp.where, late), renormed, (mean, var))
        return self._normalize(x, used, scale, bias)

    def _batches(self) -> Any:
        return self.variable("batch_stats", "batches", jnp.zeros, (), jnp.int32)

    def _normalize(self, x: Array, stats: Any, scale: Array, bias: Array) -> Array:
        mean, var = stats
        return (x - mean) * (scale / jnp.sqrt(var + self.epsilon)) + bias

    def _renormed(
        self, mean: Array, var: Array, known_mean: Array, known_var: Array
    ) -> tuple[Array, Array]:
        """Return BatchRenorm's mean and variance: algorithm 1, r and d bounded by 3 and 5."""
        std, known_std = (jnp.sqrt(x + self.epsilon) for x in (var, known_var))
        r = jnp.clip(jax.lax.stop_gradient(std / known_std), 1 / 3, 3)
        d = jnp.clip(jax.lax.stop_gradient((mean - known_mean) / known_std), -5, 5)
        return mean - d * jnp.sqrt(var) / r, var / jnp.square(r)


@jax.custom_vjp
def _by_batch(x: Array, mean: Array, inverse_std: Array, scale: Array, bias: Array) -> Array:
    """Normalise rows by their own statistics; the gradient of `x` accounts for these."""
    return (x - mean) * (scale * inverse_std) + bias


def _kept(x: Array, mean: Array, inverse_std: Array, scale: Array, bias: Array) -> Any:
    return _by_batch(x, mean, inverse_std, scale, bias), (x, mean, inverse_std, scale)


def _gradients(kept: tuple[Array, Array, Array, Array], dy: Array) -> Any:
    """Return Ioffe and Szegedy's (section 3): two sums over rows, where JAX takes three."""
    x, mean, inverse_std, scale = kept
    centred = x - mean
    products = dy, dy * centred
    dbias, dcentred = jax.lax.platform_dependent(*products, cuda=_in_one_kernel, default=_sums)
    slope = dcentred * jnp.square(inverse_std)
    dx = scale * inverse_std * (dy - (dbias + centred * slope) / len(dy))
    return dx, None, None, dcentred * inverse_std, dbias


def _sums(*arrays: Array) -> tuple[Array, ...]:
    return tuple(jnp.sum(x, axis=0) for x in arrays)


def _in_one_kernel(*arrays: Array) -> tuple[Array, ...]:
    """Return the same as one reduction, which on a CPU takes six times as long."""
    add = partial(jax.tree.map, jnp.add)
    return tuple(jax.lax.reduce(arrays, (0.0,) * len(arrays), add, (0,)))


_by_batch.defvjp(_kept, _gradients)


class RMSNorm(nn.Module):
    """RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467), with a scale."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x / jnp.sqrt(mean_square + self.epsilon) * scale


class UnitDense(nn.Module):
    """A dense layer whose columns `unit_kernels` keeps at norm 1, orthogonal at the start."""

    width: int
    bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch width"]:
        kernel = self.param("kernel", orthogonal, (x.shape[-1], self.width))
        x = product(x, kernel=kernel)
        return x + self.param("bias", nn.initializers.zeros, (self.width,)) if self.bias else x


def ensemble(module: Any, size: int) -> Any:
    """Return a class of `size` independent modules as one, on `networks.copies` of an input."""
    axes: Any = {"params": 0, "batch_stats": 0}
    return nn.vmap(module, axes, {"params": True}, axis_size=size)


class Critics(nn.Module):
    """Independent critics as one batched module: (observation, action) -> outputs of each.

    One of them is `module(*layers)`.
    """

    num_critics: int
    layers: tuple[Any, ...]
    module: Any = MLP

    @nn.compact
    def __call__(
        self, observation: Float[Array, "*batch observation"], action: Float[Array, "*batch action"]
    ) -> Float[Array, "critics *batch outputs"]:
        critics = ensemble(self.module, self.num_critics)(*self.layers)
        return critics(*copies(self.num_critics, observation, action))


def unit_kernels(params: Params) -> Params:
    """Return `params` with every column of every kernel, one per output, scaled to norm 1."""
    return _map_layers(params, {frozenset({"kernel"}): _unit, frozenset({"kernel", "bias"}): _unit})


def unit_layers(params: Params) -> Params:
    """Return `params` with kernels as in `unit_kernels`, and scale and bias of each normalisation
    over d features together to norm sqrt(d).
    """
    norms = {frozenset({"scale"}): _sqrt_width, frozenset({"scale", "bias"}): _sqrt_width}
    return _map_layers(unit_kernels(params), norms)


def _map_layers(tree: Any, functions: Mapping[frozenset[str], Any]) -> Any:
    """Apply to each layer the function for the names of its parameters, if there is one."""
    if not isinstance(tree, Mapping):
        return tree
    if function := functions.get(frozenset(tree)):
        return function(tree)
    return {name: _map_layers(layer, functions) for name, layer in tree.items()}


def _unit(layer: Any) -> Any:
    kernel = layer["kernel"]
    norm = jnp.sqrt(jnp.sum(jnp.square(kernel), axis=-2, keepdims=True))
    return {**layer, "kernel": kernel / jnp.maximum(norm, 1e-8)}


def _sqrt_width(layer: Any) -> Any:
    squares = jnp.sum(sum(map(jnp.square, layer.values())), axis=-1, keepdims=True)
    width = layer["scale"].shape[-1]
    return {k: x * (width / (squares + 1e-8)) ** 0.5 for k, x in layer.items()}


def norm_operation(params: Any, stats: Any, i: int, epsilon: float = 1e-5) -> Operation:
    """Return a module's `i`th `BatchNorm` with its running statistics, for export."""
    layer, seen = params[f"BatchNorm_{i}"], stats[f"BatchNorm_{i}"]
    factor = np.asarray(layer["scale"]) / np.sqrt(np.asarray(seen["var"]) + epsilon)
    return Operation("scale", center=seen["mean"], factor=factor, offset=layer["bias"])


def linear_decay(config: Any) -> Optimizers:
    """Return Adam at learning rates that fall in a line to their `final_lr`, a share, over all
    updates of the schedule.

    Each optimizer counts its own steps: that of an actor which waits comes less far.
    """
    return _scheduled(config, lambda lr, n: optax.linear_schedule(lr, lr * config.final_lr, n))


def cosine_decay(config: Any) -> Optimizers:
    """Return the same, but that rates fall by a cosine."""
    return _scheduled(config, lambda lr, n: optax.cosine_decay_schedule(lr, n, config.final_lr))


def _scheduled(config: Any, schedule: Callable[[Any, int], optax.Schedule]) -> Optimizers:
    rates = config.policy_lr, config.q_lr, config.alpha_lr
    return Optimizers(*(optax.adam(schedule(lr, config.schedule_updates)) for lr in rates))
