r"""Show where XLA's CPU back end is slow: a dense layer's weight gradient in bfloat16.

    python benchmarks/transposed_product.py --json benchmarks/results/transposed_product.json

The gradient of a kernel is x.T @ g. XLA folds the transpose into the product and then has no
bfloat16 kernel for it: it converts back to float32. A transpose that it does not recognise as one,
over tiles of 16 rows, leaves it the plain product that it is fast at.
"""

import argparse
import pathlib
import time
from functools import partial
from typing import Any

import common
import jax
import jax.numpy as jnp

from mjx_sac.bench.spread import spread

SIZES = (256, 256, 256), (512, 512, 512), (1024, 256, 1024), (1024, 1024, 256)


def tiled(x: jax.Array) -> jax.Array:
    """Transpose over tiles of 16 rows."""
    rows, columns = x.shape
    return x.reshape(rows // 16, 16, columns).transpose(2, 0, 1).reshape(columns, rows)


def product(turned: Any, dtype: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return turned(x) @ y of operands rounded to `dtype`, summed in float32."""
    x, y = turned(x.astype(dtype)), y.astype(dtype)
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)


def measure(rows: int, inputs: int, outputs: int, turns: int) -> dict[str, Any]:
    """Return GFLOP/s of a layer's forward product and of both ways to its weight gradient."""
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, kernel, g = (jax.random.normal(*each) for each in zip(keys, shapes, strict=True))
    rates: dict[str, list[float]] = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        ways = {
            "forward": (lambda x: x, x, kernel),
            "x.T @ g": (jnp.transpose, x, g),
            "tiled(x) @ g": (tiled, x, g),
        }
        for name, (turned, *args) in ways.items():
            program = jax.jit(partial(product, turned, dtype)).lower(*args).compile()
            seconds = [_seconds(program, args) for _ in range(turns + 1)][1:]
            flops = 2e-9 * rows * inputs * outputs
            rates[f"{name}, {dtype.__name__}"] = [flops / each for each in seconds]
    return {"size": [rows, inputs, outputs], "gflops": {k: spread(v) for k, v in rates.items()}}


def _seconds(program: Any, args: list[jax.Array], calls: int = 30) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        out = program(*args)
    jax.block_until_ready(out)
    return (time.perf_counter() - started) / calls


def main() -> None:
    """Measure all sizes, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    sizes = [measure(*size, args.turns) for size in SIZES]
    common.write({"benchmark": "transposed_product", "sizes": sizes}, args.json)


if __name__ == "__main__":
    main()
