"""A prototype: actor and critics as fused Pallas kernels, forward in one launch, backward in two.

`networks.MLP` is replaced by `MLP` below, which has the same parameters under the same names;
losses, autodiff, `vmap` over critics and checkpoints do not notice. Nobody has run it on a GPU yet:
values and gradients are tested in Pallas's interpreter, and `gpu_launches.py --pallas` compiles it
for an H200. That is why it is here and not in the package.

Two hidden layers of one width, `relu`, no layer norm, batches of a multiple of 32; anything else
goes through plain products.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from mjx_sac import networks

_ROWS = 16
"""Of a batch, in one program of the kernels that go through the layers."""

COLUMNS = 32
"""Of a layer that are in shared memory at a time: 32 kB of a kernel with 256 rows."""

_BATCH = 32
"""Rows that the kernel of the parameters' gradients takes at a time."""


INTERPRET = False
"""Whether to use Pallas's interpreter: on any device, and slowly."""


def _padded(size: int) -> int:
    """Return the size that Triton wants: a power of two, at least 16 where it multiplies."""
    return max(16, 1 << (size - 1).bit_length())


def _load(ref: Any, rows: Any, columns: Any, shape: tuple[int, int]) -> jax.Array:
    """Return the part of `ref` in those slices, of which `shape` exists; the rest is zero."""
    size = (rows.size, columns.size)
    if size == shape:
        return triton.load(ref.at[rows, columns])
    inside = (jnp.arange(size[0])[:, None] < shape[0]) & (jnp.arange(size[1])[None, :] < shape[1])
    return triton.load(ref.at[rows, columns], mask=inside, other=0.0)


def _store(ref: Any, columns: int, value: jax.Array) -> None:
    inside = jnp.broadcast_to(jnp.arange(value.shape[1])[None, :] < columns, value.shape)
    triton.store(ref.at[:, pl.ds(0, value.shape[1])], value, mask=inside)


def _dot(a: jax.Array, b: jax.Array, contract: tuple[int, int] = (1, 0)) -> jax.Array:
    return jax.lax.dot_general(
        a, b, (((contract[0],), (contract[1],)), ((), ())), preferred_element_type=jnp.float32
    )


def _forward_kernel(sizes: tuple[int, ...], width: int, outputs: int, *refs: Any) -> None:
    """Compute output and both hidden layers of `_ROWS` rows."""
    parts = refs[: len(sizes)]
    w1, b1, w2, b2, w3, b3, out_ref, h1_ref, h2_ref = refs[len(sizes) :]
    everything = pl.ds(0, width)
    z1 = jnp.broadcast_to(b1[...][None, :], (_ROWS, width))
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        x = _load(part, pl.ds(0, _ROWS), pl.ds(0, _padded(size)), (_ROWS, size))
        z1 += _dot(x, _load(w1, pl.ds(start, _padded(size)), everything, (size, width)))
        start += size
    h1 = jnp.maximum(z1, 0.0)
    h1_ref[...] = h1

    def tile(i: Any, out: jax.Array) -> jax.Array:
        columns = pl.ds(i * COLUMNS, COLUMNS)
        h2 = jnp.maximum(_dot(h1, w2[:, columns]) + b2[columns][None, :], 0.0)
        h2_ref[:, columns] = h2
        return out + _dot(
            h2, _load(w3, pl.ds(0, _padded(outputs)), columns, (outputs, COLUMNS)), (1, 1)
        )

    out = jax.lax.fori_loop(
        0, width // COLUMNS, tile, jnp.zeros((_ROWS, _padded(outputs)), jnp.float32)
    )
    bias = triton.load(
        b3.at[pl.ds(0, _padded(outputs))], mask=jnp.arange(_padded(outputs)) < outputs, other=0.0
    )
    _store(out_ref, outputs, out + bias[None, :])


def _rows_kernel(sizes: tuple[int, ...], width: int, outputs: int, *refs: Any) -> None:
    """Compute gradients of both hidden layers before activation, and of inputs, of `_ROWS` rows."""
    g_ref, h1_ref, h2_ref, w1, w2, w3, dz1_ref, dz2_ref, *parts = refs
    g = _load(g_ref, pl.ds(0, _ROWS), pl.ds(0, _padded(outputs)), (_ROWS, outputs))

    def tile(i: Any, dh1: jax.Array) -> jax.Array:
        columns = pl.ds(i * COLUMNS, COLUMNS)
        dh2 = _dot(g, _load(w3, pl.ds(0, _padded(outputs)), columns, (outputs, COLUMNS)))
        dz2 = jnp.where(h2_ref[:, columns] > 0, dh2, 0.0)
        dz2_ref[:, columns] = dz2
        return dh1 + _dot(dz2, w2[:, columns], (1, 1))

    dh1 = jax.lax.fori_loop(0, width // COLUMNS, tile, jnp.zeros((_ROWS, width), jnp.float32))
    dz1 = jnp.where(h1_ref[...] > 0, dh1, 0.0)
    dz1_ref[...] = dz1
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        kernel = _load(w1, pl.ds(start, _padded(size)), pl.ds(0, width), (size, width))
        _store(part, size, _dot(dz1, kernel, (1, 1)))
        start += size


def _columns_kernel(
    sizes: tuple[int, ...], batch: int, width: int, outputs: int, *refs: Any
) -> None:
    """Compute gradients of `COLUMNS` columns of all parameters, summed over the batch."""
    parts, refs = refs[: len(sizes)], refs[len(sizes) :]
    g_ref, h1_ref, h2_ref, dz1_ref, dz2_ref, dw1, db1, dw2, db2, dw3, db3 = refs
    columns = pl.ds(0, COLUMNS)

    def block(i: Any, sums: Any) -> Any:
        rows = pl.ds(i * _BATCH, _BATCH)
        g = _load(g_ref, rows, pl.ds(0, _padded(outputs)), (_BATCH, outputs))
        h1, h2, dz1, dz2 = (
            h1_ref[rows, :],
            h2_ref[rows, columns],
            dz1_ref[rows, columns],
            dz2_ref[rows, columns],
        )
        xs = [
            _load(part, rows, pl.ds(0, _padded(size)), (_BATCH, size))
            for part, size in zip(parts, sizes, strict=True)
        ]
        first = [_dot(x, dz1, (0, 0)) for x in xs]
        new = (
            first,
            jnp.sum(dz1, 0),
            _dot(h1, dz2, (0, 0)),
            jnp.sum(dz2, 0),
            _dot(g, h2, (0, 0)),
            jnp.sum(g, 0),
        )
        return jax.tree.map(jnp.add, sums, new)

    def zeros(*shape: int) -> jax.Array:
        return jnp.zeros(shape, jnp.float32)

    n = COLUMNS
    blank = (
        [zeros(_padded(s), n) for s in sizes],
        zeros(n),
        zeros(width, n),
        zeros(n),
        zeros(_padded(outputs), n),
    )
    sums = jax.lax.fori_loop(0, batch // _BATCH, block, (*blank, zeros(_padded(outputs))))
    first, db1[...], dw2[...], db2[...], third, last = sums
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    blocks = [(dw1, *block) for block in zip(starts, first, sizes, strict=True)]
    for ref, start, value, size in [*blocks, (dw3, 0, third, outputs)]:
        inside = jnp.broadcast_to(jnp.arange(value.shape[0])[:, None] < size, value.shape)
        triton.store(ref.at[pl.ds(start, value.shape[0]), columns], value, mask=inside)
    # Every program writes the same.
    triton.store(
        db3.at[pl.ds(0, _padded(outputs))], last, mask=jnp.arange(_padded(outputs)) < outputs
    )


def _whole(array: Any, *padded: int) -> pl.BlockSpec:
    """Return a block of all of an array, or of `padded`, where slices reach beyond its end."""
    shape = padded or array.shape
    return pl.BlockSpec(shape, lambda i: (0,) * len(shape))


def _rows(columns: int) -> pl.BlockSpec:
    return pl.BlockSpec((_ROWS, columns), lambda i: (i, 0))


def _columns(*rows: int) -> pl.BlockSpec:
    return pl.BlockSpec((*rows, COLUMNS), lambda i: (0,) * len(rows) + (i,))


def _shape(*size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(size, jnp.float32)


def _call(kernel: Any, interpret: bool, grid: int, **specs: Any) -> Any:
    parameters = triton.CompilerParams(num_warps=4, num_stages=1)
    return pl.pallas_call(
        kernel, grid=(grid,), interpret=interpret, compiler_params=parameters, **specs
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def mlp(interpret: bool, parts: tuple[jax.Array, ...], params: tuple[jax.Array, ...]) -> jax.Array:
    """Apply two hidden layers with `relu`, and a linear one, to `parts`, side by side.

    Args:
      interpret: in Pallas's interpreter, on any device.
      parts: inputs [batch, _].
      params: kernel and bias of each layer; the last kernel is transposed, as `networks.Head` has
        it.
    """
    return _mlp_forward(interpret, parts, params)[0]


def _mlp_forward(interpret: bool, parts: Any, params: Any) -> Any:
    sizes = tuple(part.shape[1] for part in parts)
    w1, b1, w2, b2, w3, b3 = params
    batch, width, outputs = len(parts[0]), len(b1), len(b3)
    rows = sum(sizes) + max(_padded(size) - size for size in sizes)
    in_specs = [
        *(_rows(_padded(size)) for size in sizes),
        _whole(w1, rows, width),
        *map(_whole, (b1, w2, b2)),
    ]
    in_specs += [_whole(w3, _padded(outputs), width), _whole(b3, _padded(outputs))]
    out, h1, h2 = _call(
        partial(_forward_kernel, sizes, width, outputs),
        interpret,
        batch // _ROWS,
        in_specs=in_specs,
        out_specs=[_rows(_padded(outputs)), _rows(width), _rows(width)],
        out_shape=[_shape(batch, outputs), _shape(batch, width), _shape(batch, width)],
    )(*parts, *params)
    return out, (parts, params, h1, h2)


def _mlp_backward(interpret: bool, residuals: Any, g: jax.Array) -> Any:
    parts, params, h1, h2 = residuals
    w1, b1, w2, _, w3, b3 = params
    sizes = tuple(part.shape[1] for part in parts)
    batch, width, outputs = len(g), len(b1), len(b3)
    rows = sum(sizes) + max(_padded(size) - size for size in sizes)
    hidden = _shape(batch, width)
    dz1, dz2, *dparts = _call(
        partial(_rows_kernel, sizes, width, outputs),
        interpret,
        batch // _ROWS,
        in_specs=[
            *(_rows(_padded(outputs)), _rows(width), _rows(width)),
            *(_whole(w1, rows, width), _whole(w2), _whole(w3, _padded(outputs), width)),
        ],
        out_specs=[_rows(width), _rows(width), *(_rows(_padded(size)) for size in sizes)],
        out_shape=[hidden, hidden, *(_shape(batch, size) for size in sizes)],
    )(g, h1, h2, w1, w2, w3)
    gradients = _call(
        partial(_columns_kernel, sizes, batch, width, outputs),
        interpret,
        width // COLUMNS,
        in_specs=[
            *(_whole(part, batch, _padded(size)) for part, size in zip(parts, sizes, strict=True)),
            *(
                _whole(g, batch, _padded(outputs)),
                _whole(h1),
                _columns(batch),
                _columns(batch),
                _columns(batch),
            ),
        ],
        out_specs=[
            *(_columns(rows), _columns(), _columns(width), _columns()),
            *(_columns(_padded(outputs)), _whole(b3, _padded(outputs))),
        ],
        out_shape=[_shape(*param.shape) for param in params],
    )(*parts, g, h1, h2, dz1, dz2)
    return tuple(dparts), tuple(gradients)


mlp.defvjp(_mlp_forward, _mlp_backward)


class _Layer(nn.Module):
    """Only the parameters of a layer."""

    shape: tuple[int, int]
    transposed: bool = False

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        axes = {"in_axis": -1, "out_axis": -2} if self.transposed else {}
        init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", **axes)
        kernel = self.param("kernel", init, self.shape)
        return kernel, self.param(
            "bias", nn.initializers.zeros, (self.shape[0 if self.transposed else 1],)
        )


class MLP(nn.Module):
    """`networks.MLP` for its default activation."""

    hidden_sizes: tuple[int, ...]
    output_size: int
    activation: str = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> jax.Array:
        width, _ = self.hidden_sizes
        features = sum(part.shape[-1] for part in inputs)
        first = _Layer((features, width), name="Join_0")()
        second = _Layer((width, width), name="Dense_0")()
        last = _Layer((self.output_size, width), transposed=True, name="Head_0")()
        if inputs[0].ndim == 2 and not len(inputs[0]) % _BATCH:
            return mlp(INTERPRET, inputs, (*first, *second, *last))
        x = nn.relu(jnp.concatenate(inputs, axis=-1) @ first[0] + first[1])
        return nn.relu(x @ second[0] + second[1]) @ last[0].T + last[1]


class Critic(networks.Critic):
    """`networks.Critic` without a copy of the inputs for each critic."""

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        ensemble = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            out_axes=-1,
            axis_size=self.num_critics,
        )
        values = ensemble(self.hidden_sizes, 1, name="VmapMLP_0")(observation, action)
        return jnp.squeeze(values, axis=-2)
