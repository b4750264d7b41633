"""Export a trained policy as StableHLO, NumPy arrays or ONNX, for use without mjx-sac.

In every format the deterministic policy is one function from flat, raw observations
`[batch, observation]` to flat actions `[batch, action]` within the environment's bounds:
normalisation and rescaling are inside, and the batch may have any size. With a history it takes
`memory.inputs` in place of observations.
"""

# pyright: basic
import io
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_sac.config import UsageError, absolute, ordinary_jax, require
from mjx_sac.policy import memory, numpy_policy
from mjx_sac.policy.policy import Policy
from mjx_sac.training.compiled import normalizer
from mjx_sac.types import Operation

_Format = tuple[bytes, Callable[[pathlib.Path], Callable[[np.ndarray], Any]]]
"""What to write, and how to load it."""

_WRONG = 0.01
"""A mean difference that no rounding explains, in halves of the action's range."""


@ordinary_jax()
def export_policy(policy: Policy, path: str | pathlib.Path, form: str) -> float:
    """Write `policy` to `path`, load it and compare its actions.

    Args:
      policy: from `load_policy`.
      path: the file, which is overwritten.
      form: "stablehlo" (any networks; for `jax.export.deserialize`; what its numbers are lies
        beside it, in the file of that name and `.json`), or, for actors with `operations` (see
        `types.Operation`), "npz" (for `numpy_policy.load`) or "onnx" (for onnxruntime).

    Returns:
      The largest difference between its actions and the policy's for 1,000 observations like those
      of training, in halves of the action's range.

    Raises:
      UsageError: there is no such format, its extra is not installed, the actor has no right
        `operations` and it is not "stablehlo", or the file cannot be written.
    """
    if form not in _FORMATS:
        raise UsageError(f"format = {form!r}: no such format; there are {', '.join(_FORMATS)}")
    path = absolute(path)
    data, load = _FORMATS[form](policy)
    try:
        path.write_bytes(data)
        if form == "stablehlo":  # in which there is no room for it
            text = json.dumps(_description(policy), indent=1)
            path.with_name(f"{path.name}.json").write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"out = {str(path)!r}: {error.strerror}: choose another --out") from None
    stats, (center, factor) = policy.statistics, policy.units
    mean, std = center + stats.mean, np.sqrt(stats.var) / np.where(factor, factor, 1)
    observation = np.random.default_rng(0).normal(mean, std, (1000, mean.size)).astype(np.float32)
    difference = np.abs(load(path)(observation) - policy.apply(observation))
    difference /= np.maximum(policy.bounds["half"], 1e-30)
    if np.mean(difference) > _WRONG:
        path.unlink()
        problem = "the actor's `operations` are not what its mode() computes"
        raise UsageError(f"format = {form!r}: {problem}: correct them, or use stablehlo")
    return float(np.max(difference))


def _stablehlo(policy: Policy) -> _Format:
    shape = (*jax.export.symbolic_shape("batch"), policy.input_size)
    export = jax.export.export(jax.jit(policy.apply), platforms=("cpu", "cuda", "tpu"))
    data = export(jax.ShapeDtypeStruct(shape, jnp.float32)).serialize()
    return bytes(data), lambda path: jax.export.deserialize(bytearray(path.read_bytes())).call


def operations(policy: Policy) -> list[Operation]:
    """Return what `policy` computes; UsageError if its actor does not say so."""
    actor, stats, bounds = policy.networks.actor, policy.statistics, policy.bounds
    if not hasattr(actor, "operations"):
        problem = f"is your own {type(actor).__name__}, which has no method `operations`"
        raise UsageError(f"format: the actor {problem}: use stablehlo")
    normalize = [
        Operation("scale", center=stats.mean, factor=1 / normalizer.deviation(stats), offset=0),
        Operation("clip", low=-normalizer.CLIP, high=normalizer.CLIP),
    ]
    center, factor = policy.units
    units = [Operation("scale", center=center, factor=factor, offset=0)]
    return [
        *(units if policy.config.history > 1 else []),
        *(normalize if policy.config.normalize_observations else []),
        *actor.operations(policy.actor_params),
        Operation("scale", center=0, factor=bounds["half"], offset=bounds["middle"]),
        Operation("clip", low=bounds["low"], high=bounds["high"]),
        *([Operation("round")] if policy.whole_numbers else []),
    ]


def _arrays(step: Operation) -> dict[str, np.ndarray]:
    kind = np.int64 if step.name == "add" else np.float32
    return {name: np.asarray(x, kind) for name, x in step.arrays.items()}


def _npz(policy: Policy) -> _Format:
    steps, file = operations(policy), io.BytesIO()
    arrays: dict[str, Any] = {"operations": [step.name for step in steps]}
    if policy.config.history > 1:
        arrays["inputs"] = [f"{name} {size}" for name, size in memory.inputs(policy)]
    for i, step in enumerate(steps):
        arrays |= {f"{i}.{name}": x for name, x in _arrays(step).items()}
    np.savez(file, **arrays)  # no objects, so no pickles
    return file.getvalue(), numpy_policy.load


_HEADER = """
<ir_version: 8, opset_import: ["": 13], producer_name: "mjx-sac">
policy (float[batch, {policy.input_size}] observation)
  => (float[batch, {policy.action_size}] action)
"""
"""Versions of 2021: every runtime still in use reads them."""

_NODES = {
    "affine": "{y} = Gemm({x}, {kernel}, {bias})",
    "scale": "{y}_a = Sub({x}, {center})  {y}_b = Mul({y}_a, {factor})  {y} = Add({y}_b, {offset})",
    "add": "{y} = Add({x}, {earlier})",
    "relu": "{y} = Relu({x})",
    "tanh": "{y} = Tanh({x})",
    "elu": "{y} = Elu({x})",
    # The tanh form, as `jax.nn.gelu`.
    "gelu": """
        {y}_a = Mul({x}, {x})  {y}_b = Mul({y}_a, {x})  {y}_c = Mul({y}_b, gelu_cubic)
        {y}_d = Add({x}, {y}_c)  {y}_e = Mul({y}_d, gelu_scale)  {y}_f = Tanh({y}_e)
        {y}_g = Add({y}_f, gelu_one)  {y}_h = Mul({x}, gelu_half)  {y} = Mul({y}_h, {y}_g)
    """,
    "silu": "{y}_a = Sigmoid({x})  {y} = Mul({x}, {y}_a)",
    "clip": "{y}_a = Max({x}, {low})  {y} = Min({y}_a, {high})",
    "round": "{y} = Round({x})",
    "layer_norm": """
        {y}_a = ReduceMean<axes = [1]>({x})  {y}_b = Sub({x}, {y}_a)  {y}_c = Mul({y}_b, {y}_b)
        {y}_d = ReduceMean<axes = [1]>({y}_c)  {y}_e = Add({y}_d, {eps})  {y}_f = Sqrt({y}_e)
        {y}_g = Div({y}_b, {y}_f)  {y}_h = Mul({y}_g, {scale})  {y} = Add({y}_h, {bias})
    """,
    "rms_norm": """
        {y}_a = Mul({x}, {x})  {y}_b = ReduceMean<axes = [1]>({y}_a)  {y}_c = Add({y}_b, {eps})
        {y}_d = Sqrt({y}_c)  {y}_e = Div({x}, {y}_d)  {y} = Mul({y}_e, {scale})
    """,
    "l2_norm": """
        {y}_a = ReduceL2<axes = [1]>({x})  {y}_b = Max({y}_a, {eps})  {y} = Div({x}, {y}_b)
    """,
}
"""Every operation as nodes in ONNX's text format, from {x} to {y}."""

_GELU = {"cubic": 0.044715, "scale": math.sqrt(2 / math.pi), "one": 1, "half": 0.5}


def _onnx(policy: Policy) -> _Format:
    steps = operations(policy)
    require(["onnx", "onnxruntime"], "onnx", "format = 'onnx'")
    import onnx
    import onnxruntime

    values = ["observation", *(f"x_{i}" for i in range(1, len(steps))), "action"]
    constants = {f"gelu_{name}": np.asarray(value, np.float32) for name, value in _GELU.items()}
    nodes: list[str] = []
    for i, step in enumerate(steps):
        arrays = _arrays(step)
        names = {name: f"{name}_{i}" for name in arrays}
        constants |= {names[name]: x for name, x in arrays.items()}
        if step.name == "add":
            names["earlier"] = values[i - int(arrays["back"])]
        nodes.append(_NODES[step.name].format(x=values[i], y=values[i + 1], **names))
    text = _HEADER.format(policy=policy) + "{" + "\n".join(nodes) + "}"
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & constants.keys()):
        model.graph.initializer.append(onnx.numpy_helper.from_array(constants[name], name))
    described = {name: json.dumps(value) for name, value in _description(policy).items()}
    onnx.helper.set_model_props(model, described)
    onnx.checker.check_model(model, full_check=True)

    def load(path: pathlib.Path) -> Callable[[np.ndarray], Any]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda observation: session.run(None, {"observation": observation})[0]

    return model.SerializeToString(), load


def _description(policy: Policy) -> dict[str, Any]:
    """Return what whoever deploys the policy has to know, by name."""
    spaces, config = policy.spaces, policy.config
    control = spaces.get("control", {})
    known = {
        "env": config.env,
        "algorithm": config.algorithm,
        "iterations": policy.iterations,
        "observation": spaces["observation"],
        "inputs": memory.inputs(policy) if config.history > 1 else None,
        "before_an_episode": memory.PADDING if config.history > 1 else None,
        "action_low": spaces["action"]["low"],
        "action_high": spaces["action"]["high"],
        "actuators": control.get("actuators"),
        "action_scale": control.get("action_scale"),
        "control_period": control and control["period"] * config.action_repeat,
    }
    return {name: value for name, value in known.items() if value not in (None, {})}


_FORMATS = {"stablehlo": _stablehlo, "npz": _npz, "onnx": _onnx}
