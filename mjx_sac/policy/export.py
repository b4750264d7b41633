"""Export a trained policy as StableHLO, NumPy arrays or ONNX, for use without mjx-sac.

In every format the deterministic policy is one function from flat, raw observations
`[batch, observation]` to flat actions `[batch, action]` within the environment's bounds:
normalisation and rescaling are inside, and the batch may have any size.
"""

# pyright: basic
import io
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_sac import networks
from mjx_sac.config import UsageError, absolute, ordinary_jax, require
from mjx_sac.policy import numpy_policy
from mjx_sac.policy.policy import Policy
from mjx_sac.training.compiled import normalizer

_Format = tuple[bytes, Callable[[pathlib.Path], Callable[[np.ndarray], Any]]]
"""What to write, and how to load it."""


@ordinary_jax()
def export_policy(policy: Policy, path: str | pathlib.Path, form: str) -> float:
    """Write `policy` to `path`, load it and compare its actions.

    Args:
      policy: from `load_policy`.
      path: the file, which is overwritten.
      form: "stablehlo" (any networks; for `jax.export.deserialize`), "npz" (for
        `numpy_policy.load`), or "onnx" (for onnxruntime).

    Returns:
      The largest difference between its actions and the policy's for 1,000 observations like those
      of training, in halves of the action's range.

    Raises:
      UsageError: there is no such format, its extra is not installed, the networks are the user's
        own and it is not "stablehlo", or the file cannot be written.
    """
    if form not in _FORMATS:
        raise UsageError(f"format = {form!r}: no such format; there are {', '.join(_FORMATS)}")
    path = absolute(path)
    data, load = _FORMATS[form](policy)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"out = {str(path)!r}: {error.strerror}: choose another --out") from None
    mean, std = policy.normalizer.mean, np.sqrt(policy.normalizer.var)
    observation = np.random.default_rng(0).normal(mean, std, (1000, mean.size)).astype(np.float32)
    difference = np.abs(load(path)(observation) - policy.apply(observation))
    return float(np.max(difference / np.maximum(policy.bounds["half"], 1e-30)))


def _stablehlo(policy: Policy) -> _Format:
    shape = (*jax.export.symbolic_shape("batch"), policy.observation_size)
    export = jax.export.export(jax.jit(policy.apply), platforms=("cpu", "cuda", "tpu"))
    data = export(jax.ShapeDtypeStruct(shape, jnp.float32)).serialize()
    return bytes(data), lambda path: jax.export.deserialize(bytearray(path.read_bytes())).call


def arrays(policy: Policy) -> dict[str, np.ndarray]:
    """Return what `numpy_policy.load` reads; UsageError if the actor is not the default one."""
    actor, stats = policy.networks.actor, policy.normalizer
    if type(actor) is not networks.Actor:
        raise UsageError(
            f"format: the actor is your own {type(actor).__name__}, and only the default one is "
            f"known layer by layer: use stablehlo"
        )
    params, n = policy.actor_params["params"]["MLP_0"], policy.action_size
    hidden = [params[f"Dense_{i}"] for i in range(len(actor.hidden_sizes) - 1)]
    # The head's kernel is transposed. The second half of its outputs is the deviation.
    head = {"kernel": params["Head_0"]["kernel"][:n].T, "bias": params["Head_0"]["bias"][:n]}
    layers = [params["Join_0"], *hidden, head]
    scaled = policy.config.normalize_observations
    return {
        "activation": np.array(actor.activation),
        "layers": np.array(len(layers)),
        **{f"kernel_{i}": np.asarray(layer["kernel"]) for i, layer in enumerate(layers)},
        **{f"bias_{i}": np.asarray(layer["bias"]) for i, layer in enumerate(layers)},
        "mean": np.asarray(stats.mean) if scaled else np.zeros_like(stats.mean),
        "std": np.asarray(normalizer.deviation(stats)) if scaled else np.ones_like(stats.mean),
        "clip": np.array(normalizer.CLIP if scaled else np.inf, np.float32),
        **policy.bounds,
        "whole_numbers": np.array(policy.whole_numbers),
    }


def _npz(policy: Policy) -> _Format:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays(policy))
    return file.getvalue(), numpy_policy.load


_HEADER = """
<ir_version: 8, opset_import: ["": 13], producer_name: "mjx-sac">
policy (float[batch, {policy.observation_size}] observation)
  => (float[batch, {policy.action_size}] action)
"""
"""Versions of 2021: every runtime still in use reads them."""

_ACTIVATIONS = {
    "relu": "{y} = Relu({x})",
    "tanh": "{y} = Tanh({x})",
    "elu": "{y} = Elu({x})",
    "silu": "{y}_a = Sigmoid({x})  {y} = Mul({x}, {y}_a)",
    # The tanh form, as `jax.nn.gelu`.
    "gelu": """
        {y}_a = Mul({x}, {x})  {y}_b = Mul({y}_a, {x})  {y}_c = Mul({y}_b, gelu_cubic)
        {y}_d = Add({x}, {y}_c)  {y}_e = Mul({y}_d, gelu_scale)  {y}_f = Tanh({y}_e)
        {y}_g = Add({y}_f, gelu_one)  {y}_h = Mul({x}, gelu_half)  {y} = Mul({y}_h, {y}_g)
    """,
}
"""Nodes in ONNX's text format."""


def _onnx(policy: Policy) -> _Format:
    p = arrays(policy)
    require(["onnx", "onnxruntime"], "onnx", "format = 'onnx'")
    import onnx
    import onnxruntime

    gelu = {"cubic": 0.044715, "scale": np.sqrt(2 / np.pi), "one": 1, "half": 0.5}
    constants = p | {f"gelu_{name}": np.float32(value) for name, value in gelu.items()}
    constants["minus_clip"], last = -p["clip"], int(p["layers"]) - 1
    nodes = ["a = Sub(observation, mean)  b = Div(a, std)  x_0 = Clip(b, minus_clip, clip)"]
    for i in range(last + 1):
        nodes.append(f"h_{i} = Gemm(x_{i}, kernel_{i}, bias_{i})")
        activation = _ACTIVATIONS["tanh" if i == last else str(p["activation"])]
        nodes.append(activation.format(x=f"h_{i}", y=f"x_{i + 1}"))
    nodes.append(f"c = Mul(x_{last + 1}, half)  d = Add(c, middle)  e = Max(d, low)")
    nodes.append(f"f = Min(e, high)  action = {'Round' if policy.whole_numbers else 'Identity'}(f)")
    text = _HEADER.format(policy=policy) + "{" + "\n".join(nodes) + "}"
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & constants.keys()):
        array = onnx.numpy_helper.from_array(np.asarray(constants[name]), name)
        model.graph.initializer.append(array)
    onnx.checker.check_model(model, full_check=True)

    def load(path: pathlib.Path) -> Callable[[np.ndarray], Any]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda observation: session.run(None, {"observation": observation})[0]

    return model.SerializeToString(), load


_FORMATS = {"stablehlo": _stablehlo, "npz": _npz, "onnx": _onnx}
