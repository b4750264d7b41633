"""Dense layers, and their matrix products in bfloat16.

With `--matmul_precision bfloat16` the operands of a wide layer's three products, the forward one
and both of the gradient, are rounded to bfloat16 and summed in float32; parameters, optimizers and
everything between layers stay in float32. A layer less than 64 wide gains nothing and is left
alone. JAX's own setting, `BF16_BF16_F32`, says so to all products while losses are traced; XLA
obeys it on a GPU and not on a CPU, hence the code here.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

ROUNDED = "BF16_BF16_F32"
"""JAX's name for operands in bfloat16 with sums in float32."""
_WIDE = 64
_TILE = 16


def precision(name: str) -> Any:
    """Return the context that traces products at a `matmul_precision`."""
    return jax.default_matmul_precision(ROUNDED if name == "bfloat16" else name)


def _rounds(rows: int, inputs: int, outputs: int) -> bool:
    """Return whether products of this size are rounded in the present context."""
    asked = jax.config.values["jax_default_matmul_precision"]
    return asked == ROUNDED and rows % _TILE == 0 and min(rows, inputs, outputs) >= _WIDE


def _dot(x: Any, y: Any, axes: tuple[int, int], rounded: bool) -> Array:
    """Contract two matrices over an axis of each."""
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    if not rounded:
        return jax.lax.dot_general(x, y, dimensions)
    x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
    return jax.lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)


def _transposed(x: Float[Array, "rows columns"]) -> Float[Array, "columns rows"]:
    """Transpose, so that XLA's CPU back end does it.

    It folds `x.T` into the product that follows and then has no bfloat16 kernel for it: the product
    runs at half the speed (`benchmarks/transposed_product.py`).
    """
    rows, columns = x.shape
    tiles = x.reshape(rows // _TILE, _TILE, columns)
    return tiles.transpose(2, 0, 1).reshape(columns, rows)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _join(
    rounded: bool,
    parts: tuple[Float[Array, "rows _"], ...],
    kernel: Float[Array, "features width"],
) -> Float[Array, "rows width"]:
    """Return the product of `parts`, side by side, with a kernel.

    Differentiated part by part: the actor's loss wants the critics' gradient in the action, a
    quarter of ant's columns. Of concatenated parts XLA computes all columns and throws the rest
    away (2 % of an update on a CPU).
    """
    return _dot(jnp.concatenate(parts, axis=-1), kernel, (1, 0), rounded)


def _join_forward(rounded: bool, parts: Any, kernel: Any) -> Any:
    return _join(rounded, parts, kernel), (parts, kernel)


def _join_backward(rounded: bool, residuals: Any, gradient: Any) -> Any:
    parts, kernel = residuals
    blocks = jnp.split(kernel, np.cumsum([part.shape[-1] for part in parts[:-1]]))
    features = jnp.concatenate(parts, axis=-1)
    if rounded:
        half = features.astype(jnp.bfloat16)
        rows = jax.lax.platform_dependent(half, cpu=_transposed, default=jnp.transpose)
        by_kernel = _dot(rows, gradient, (1, 0), rounded)
    else:
        by_kernel = _dot(features, gradient, (0, 0), rounded)
    return tuple(_dot(gradient, block, (1, 1), rounded) for block in blocks), by_kernel


_join.defvjp(_join_forward, _join_backward)


def product(
    *parts: Float[Array, "*batch _"], kernel: Float[Array, "features width"]
) -> Float[Array, "*batch width"]:
    """Return the product of `parts`, side by side, with a kernel."""
    batch = parts[0].shape[:-1]
    rounded = _rounds(math.prod(batch), *kernel.shape)
    if not rounded and len(parts) == 1:
        return parts[0] @ kernel
    flat = tuple(part.reshape(-1, part.shape[-1]) for part in parts)
    joined: Any = _join(rounded, flat, kernel)
    return joined.reshape(*batch, kernel.shape[-1])


def add_bias(module: nn.Module, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    """Add a module's parameter `bias`, which begins at zero."""
    bias = module.param("bias", nn.initializers.zeros, x.shape[-1:])
    return x + jnp.reshape(bias, (1,) * (x.ndim - 1) + (-1,))


class Join(nn.Module):
    """A dense layer on several inputs, side by side."""

    width: int
    kernel_init: Any = nn.initializers.lecun_uniform()

    @nn.compact
    def __call__(self, *parts: Float[Array, "*batch _"]) -> Float[Array, "*batch width"]:
        shape = (sum(part.shape[-1] for part in parts), self.width)
        kernel = self.param("kernel", self.kernel_init, shape)
        return add_bias(self, product(*parts, kernel=kernel))


class Dense(Join):
    """A dense layer."""
