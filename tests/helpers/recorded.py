"""Gradient steps that another implementation took, and ours on the same batches and noise.

`theirs(when, network, path)` is what was recorded for one of our parameters or variables: `when` is
like "initial/actor" or "final/target", `network` "actor" or "critic".
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mjx_sac.algorithms import base
from mjx_sac.types import Transition

RECORDED = pathlib.Path(__file__).parents[1] / "algorithms" / "recorded"
NETWORKS = {
    "actor_params": ("actor", "actor"),
    "actor_variables": ("actor", "actor"),
    "critic_params": ("critic", "critic"),
    "critic_variables": ("critic", "critic"),
    "target_critic_params": ("target", "critic"),
}
"""What each part of a state is called in recordings, and its network."""
LOSSES = {
    "train/critic_loss": "critic_loss",
    "train/actor_loss": "actor_loss",
    "train/ent_coef_loss": "temperature_loss",
}


def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(RECORDED / f"{name}.npz"))


def all_within(limit: float, *but: str) -> dict[str, float]:
    """Return one limit for all parameters and the temperature, without those named `but`."""
    fields = ("actor_params", "critic_params", "target_critic_params", "log_alpha")
    return {field: limit for field in fields if field not in but}


def batches(arrays) -> Transition:
    return Transition(
        arrays["observation"],
        arrays["action"],
        arrays["reward"],
        np.where(arrays["terminated"] > 0, 0, 0.99).astype(np.float32),
        arrays["next_observation"],
    )


def beginning(theirs, fields=("actor_params", "critic_params"), **static):
    """Return the state before the first gradient step: `fields` as recorded, targets the same."""
    state = base.init(jax.random.PRNGKey(0), 5, 3, **static)
    given = {field: _recorded(getattr(state, field), theirs, "initial", field) for field in fields}
    if state.target_critic_params is not None:
        given["target_critic_params"] = jax.tree.map(jnp.copy, given["critic_params"])
    return state.replace(**given)


def _recorded(like, theirs, when, field):
    """Return a tree as `like` of what was recorded."""
    part, network = NETWORKS[field]
    paths = traverse_util.flatten_dict(like)
    flat = {path: jnp.asarray(theirs(f"{when}/{part}", network, path)) for path in paths}
    return traverse_util.unflatten_dict(flat)


def replayed(state, arrays, **static):
    """Return the state after all gradient steps, and what was measured in each."""
    step = jax.jit(lambda *args: base.update(*args, **static))
    rows, history = batches(arrays), []
    for i in range(len(rows.reward)):
        batch = jax.tree.map(lambda x: jnp.asarray(x[i]), rows)  # noqa: B023
        state, measured = step(state, batch, jax.random.split(jax.random.PRNGKey(i)))
        done = [metrics for metrics, when in measured if when is None or when]
        history.append({tag: value for metrics in done for tag, value in metrics.items()})
    return state, history


def differences(state, arrays, theirs) -> dict[str, dict[tuple, float]]:
    """Return by how much a number of each part of a state differs from what was recorded, at most,
    by path; () is that of the temperature, if it was recorded.
    """
    found = {}
    for field in NETWORKS:
        if (ours := getattr(state, field)) is not None:
            ours, expected = (
                traverse_util.flatten_dict(tree)
                for tree in (ours, _recorded(ours, theirs, "final", field))
            )
            pairs = {path: (np.asarray(x), np.asarray(expected[path])) for path, x in ours.items()}
            assert [path for path, (a, b) in pairs.items() if a.shape != b.shape] == []
            found[field] = {path: float(np.abs(a - b).max()) for path, (a, b) in pairs.items()}
    if "final/log_alpha" in arrays:
        found["log_alpha"] = {(): float(np.abs(state.log_alpha - arrays["final/log_alpha"]).max())}
    return found


def values(history, tag) -> list[float]:
    return [float(metrics[tag]) for metrics in history if tag in metrics]


def check(arrays, theirs, start=None, *, within, moved=None, rtol=0.0, atol=0.0, **static):
    """Assert that our gradient steps end where the recorded ones did, losses on the way included.

    `within` has the greatest difference of a number in each part of the state: all that there are,
    but for a temperature that was not recorded. A function of the path may say it. `moved` is by
    how much some number of each array must have changed, or small differences would show little.
    `rtol` and `atol` are of the losses.
    """
    start = start or beginning(theirs, **static)
    state, history = replayed(start, arrays, **static)
    found = differences(state, arrays, theirs)
    assert within.keys() == found.keys()
    for field, limit in within.items():
        for path, difference in found[field].items():
            assert difference <= (limit(path) if callable(limit) else limit), f"{field} {path}"
    for field, least in (moved or {}).items():
        pair = getattr(start, field), getattr(state, field)
        change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *pair)
        assert min(jax.tree.leaves(change)) > least, field
    for tag, name in LOSSES.items():
        if name in arrays:
            np.testing.assert_allclose(values(history, tag), arrays[name], rtol=rtol, atol=atol)
