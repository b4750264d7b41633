"""Act with what `mjx-sac export --format npz` wrote, on NumPy alone.

Copy this file, mjx_sac/policy/numpy_policy.py, to where the policy is to act.

act = load("policy.npz")
action = act(observation)  # flat; single or batched
"""

# pyright: basic
import numpy as np

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: (
        x * (1 + np.tanh(np.sqrt(2 / np.pi, dtype=np.float32) * (x + 0.044715 * x**3))) / 2
    ),
    "silu": lambda x: x * (1 + np.tanh(x / 2)) / 2,
}


def load(path):
    """Return the deterministic policy in `path`: from observations to actions within bounds."""
    p = dict(np.load(path))
    activation = ACTIVATIONS[str(p["activation"])]
    *hidden, last = [(p[f"kernel_{i}"], p[f"bias_{i}"]) for i in range(p["layers"])]

    def act(observation):
        x = (np.asarray(observation, np.float32) - p["mean"]) / p["std"]
        x = np.clip(x, -p["clip"], p["clip"])
        for kernel, bias in hidden:
            x = activation(x @ kernel + bias)
        action = p["middle"] + np.tanh(x @ last[0] + last[1]) * p["half"]
        action = np.clip(action, p["low"], p["high"])
        return np.rint(action) if p["whole_numbers"] else action

    return act
