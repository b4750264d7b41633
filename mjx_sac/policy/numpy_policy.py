"""Act with what `mjx-sac export --format npz` wrote, on NumPy alone.

Copy this file, mjx_sac/policy/numpy_policy.py, to where the policy is to act. It reads what the
version of mjx-sac that it came with writes.

act = load("policy.npz")
action = act(observation)  # flat; single or batched

With a history it takes act.inputs, side by side:

memory = np.tile(np.concatenate([middle, observation]), history - 1)  # where an episode begins
seen = np.concatenate([observation, memory])
action = act(seen)
memory = np.concatenate([action, seen])[: memory.size]
"""

# pyright: basic
import numpy as np


def rms(x, eps):
    """Return the root of the mean square."""
    return np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


OPERATIONS = {
    "affine": lambda x, kernel, bias: x @ kernel + bias,
    "scale": lambda x, center, factor, offset: (x - center) * factor + offset,
    "add": lambda x, earlier: x + earlier,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: (
        x * (1 + np.tanh(np.sqrt(2 / np.pi, dtype=np.float32) * (x + 0.044715 * x**3))) / 2
    ),
    "silu": lambda x: x * (1 + np.tanh(x / 2)) / 2,
    "clip": lambda x, low, high: np.clip(x, low, high),
    "round": np.rint,
    "layer_norm": lambda x, scale, bias, eps: (
        (d := x - np.mean(x, -1, keepdims=True)) / rms(d, eps) * scale + bias
    ),
    "rms_norm": lambda x, scale, eps: x / rms(x, eps) * scale,
    "l2_norm": lambda x, eps: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), eps),
}


def load(path):
    """Return the deterministic policy in `path`: from observations to actions within bounds."""
    p = dict(np.load(path))
    names = p.pop("operations", np.array(["none"])).tolist()
    inputs = p.pop("inputs", np.array([])).tolist()
    if unknown := ", ".join(set(names) - OPERATIONS.keys()):
        way_out = "copy numpy_policy.py from the mjx-sac that wrote it"
        raise ValueError(f"{path}: operations = {unknown}: not known here: {way_out}")
    arrays = [{} for _ in names]
    for key in p:
        index, name = key.split(".")
        arrays[int(index)][name] = p[key]

    def act(observation):
        values = [np.asarray(observation, np.float32)]
        for name, given in zip(names, arrays, strict=True):
            if name == "add":
                given = {"earlier": values[-1 - given["back"]]}
            values.append(OPERATIONS[name](values[-1], **given))
        return values[-1]

    act.inputs = inputs
    return act
