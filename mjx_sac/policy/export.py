"""A trained policy for where there is no mjx-sac: `export_policy` writes it as StableHLO, NumPy arrays or ONNX.

In every format the deterministic policy is one function from flat, raw observations `[batch, observation]` to flat actions
`[batch, action]` within the environment's bounds: normalisation and rescaling are inside, and the batch may have any size.
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
from mjx_sac.config import UsageError
from mjx_sac.policy import numpy_policy
from mjx_sac.policy.policy import Policy
from mjx_sac.training.compiled import normalizer

_OPSET, _IR = 13, 8  # of 2021: every runtime still in use reads them


def export_policy(policy: Policy, path: str | pathlib.Path, form: str) -> float:
    """Writes `policy` to `path`, reads it back and has it act.

    Args:
      policy: from `load_policy`.
      path: the file, which is overwritten.
      form: "stablehlo" (any networks; for `jax.export.deserialize`), "npz" (for `numpy_policy.load`), or "onnx".

    Returns:
      The largest difference between its actions and the policy's for 1,000 observations like those of training, in halves of the
      action's range.

    Raises:
      UsageError: the networks are the user's own and `form` is not "stablehlo", or the file cannot be written.
    """
    if form not in _FORMS:
        raise UsageError(f"format = {form!r}: no such format; there are {', '.join(_FORMS)}")
    data, load = _FORMS[form](policy)
    try:
        pathlib.Path(path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"out = {str(path)!r}: {error.strerror}: choose another --out") from None
    noise = np.random.default_rng(0).normal(size=(1000, policy.observation_size))
    observation = np.asarray(
        policy.normalizer.mean + noise * np.sqrt(policy.normalizer.var), np.float32
    )
    difference = np.abs(load(pathlib.Path(path))(observation) - policy.apply(observation))
    return float(np.max(difference / np.maximum(policy.action_high - policy.action_low, 1e-30) * 2))


_Loaded = tuple[bytes, Callable[[pathlib.Path], Callable[[np.ndarray], Any]]]


def _stablehlo(policy: Policy) -> _Loaded:
    shape = (*jax.export.symbolic_shape("batch"), policy.observation_size)
    export = jax.export.export(jax.jit(policy.apply), platforms=("cpu", "cuda", "tpu"))
    data = export(jax.ShapeDtypeStruct(shape, jnp.float32)).serialize()
    return bytes(data), lambda path: jax.export.deserialize(bytearray(path.read_bytes())).call


def arrays(policy: Policy) -> dict[str, np.ndarray]:
    """The policy as plain arrays: what `numpy_policy.load` reads.

    Raises:
      UsageError: its actor is not the default one.
    """
    if type(policy.networks.actor) is not networks.Actor:
        kind = type(policy.networks.actor).__name__
        raise UsageError(
            f"format: the actor is your own {kind}, and only the default one is known layer by layer: use stablehlo"
        )
    params, actor = policy.actor_params["params"]["MLP_0"], policy.networks.actor
    names = ["Join_0", *(f"Dense_{i}" for i in range(len(actor.hidden_sizes) - 1)), "Head_0"]
    layers = [
        (np.asarray(params[name]["kernel"]), np.asarray(params[name]["bias"])) for name in names
    ]
    kernel, bias = layers[
        -1
    ]  # transposed; the second half of its outputs is the deviation, which a deterministic policy ignores
    layers[-1] = (kernel[: policy.action_size].T, bias[: policy.action_size])
    stats, scaled = policy.normalizer, policy.config.normalize_observations
    return {
        "activation": np.array(actor.activation),
        "layers": np.array(len(layers)),
        **{
            f"{part}_{i}": array
            for i, layer in enumerate(layers)
            for part, array in zip(("kernel", "bias"), layer, strict=True)
        },
        "mean": np.asarray(stats.mean) if scaled else np.zeros_like(stats.mean),
        "std": np.asarray(normalizer.deviation(stats)) if scaled else np.ones_like(stats.mean),
        "clip": np.array(normalizer.CLIP if scaled else np.inf, np.float32),
        **policy.bounds(),
        "whole_numbers": np.array(policy.whole_numbers),
    }


def _npz(policy: Policy) -> _Loaded:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays(policy))
    return file.getvalue(), numpy_policy.load


def _onnx(policy: Policy) -> _Loaded:
    """The graph by hand: no well-kept converter reads JAX."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    p = arrays(policy)
    graph = _Graph(p)
    x = "observation"
    if np.isfinite(p["clip"]):
        x = graph(
            "Clip", graph("Div", graph("Sub", x, "mean"), "std"), graph.constant(-p["clip"]), "clip"
        )
    for i in range(p["layers"]):
        x = graph("Gemm", x, f"kernel_{i}", f"bias_{i}")
        x = _activate(graph, x, p["activation"] if i < p["layers"] - 1 else "tanh")
    x = graph("Add", graph("Mul", x, "half"), "middle")
    x = graph("Min", graph("Max", x, "low"), "high")
    graph("Round" if p["whole_numbers"] else "Identity", x, out="action")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("observation", policy.observation_size), ("action", policy.action_size))
    ]
    used = {name for node in graph.nodes for name in node.input}
    constants = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in graph.arrays.items()
        if name in used
    ]
    body = helper.make_graph(graph.nodes, "policy", ends[:1], ends[1:], constants)
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="mjx-sac",
    )
    onnx.checker.check_model(model, full_check=True)

    def load(path: pathlib.Path) -> Callable[[np.ndarray], Any]:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=["CPUExecutionProvider"]
        )
        return lambda observation: session.run(None, {"observation": observation})[0]

    return model.SerializeToString(), load


class _Graph:
    """Nodes in the order they are called, each with one output, whose name the call returns."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays, self.nodes = dict(arrays), []

    def __call__(self, kind: str, *inputs: str, out: str | None = None) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [out or f"x{len(self.nodes)}"]))
        return self.nodes[-1].output[0]

    def constant(self, value: Any) -> str:
        name = f"constant_{float(value)!r}"
        self.arrays[name] = np.array(value, np.float32)
        return name


def _activate(graph: _Graph, x: str, activation: Any) -> str:
    if activation == "silu":
        return graph("Mul", x, graph("Sigmoid", x))
    if activation == "gelu":  # the tanh form, as `jax.nn.gelu`
        cube = graph("Mul", graph("Mul", graph("Mul", x, x), x), graph.constant(0.044715))
        inner = graph("Mul", graph("Add", x, cube), graph.constant(np.sqrt(2 / np.pi)))
        return graph(
            "Mul",
            graph("Mul", x, graph.constant(0.5)),
            graph("Add", graph("Tanh", inner), graph.constant(1.0)),
        )
    return graph({"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}[str(activation)], x)


_FORMS: dict[str, Callable[[Policy], _Loaded]] = {
    "stablehlo": _stablehlo,
    "npz": _npz,
    "onnx": _onnx,
}
