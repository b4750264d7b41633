"""Gradient steps that another implementation took, and ours on the same batches and noise."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mjx_sac.algorithms import base
from mjx_sac.types import Transition


def batches(arrays) -> Transition:
    return Transition(
        arrays["observation"],
        arrays["action"],
        arrays["reward"],
        np.where(arrays["terminated"] > 0, 0, 0.99).astype(np.float32),
        arrays["next_observation"],
    )


def laid_out(like, arrays, name):
    """Return a tree as `like` of recorded arrays; `name(path)` is what each is called there."""
    flat = {path: jnp.asarray(arrays[name(path)]) for path in traverse_util.flatten_dict(like)}
    return traverse_util.unflatten_dict(flat)


def laid_out_by(arrays, like, when, network):
    """Return a tree as `like`; `arrays(when, network, path)` is what was recorded for each part."""
    paths = traverse_util.flatten_dict(like)
    return traverse_util.unflatten_dict({p: jnp.asarray(arrays(when, network, p)) for p in paths})


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


def values(history, tag) -> list[float]:
    return [float(metrics[tag]) for metrics in history if tag in metrics]
