"""What a policy with `--history` takes, outside training, where actions have the world's units."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_sac.config import UsageError
from mjx_sac.training.compiled import history

PADDING = "copies of the first observation and actions in the middle of their range"
"""What is there before an episode's first observation."""


class ObservationError(UsageError, ValueError):
    """An observation that the policy cannot act on."""


def inputs(policy: Any) -> list[tuple[str, int]]:
    """Return what `apply` and exported files take, side by side: names, and how many numbers."""
    names = ["observation[t]"]
    for i in range(1, policy.config.history):
        names += [f"action[t-{i}]", f"observation[t-{i}]"]
    return [(x, getattr(policy, f"{x.split('[')[0]}_size")) for x in names]


def units(policy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return center and factor, `[input_size]`, that take actions among the inputs to [-1, 1].

    They leave observations as they are.
    """
    half, n = policy.bounds["half"], policy.config.history
    factor = np.where(half > 0, 1 / np.where(half > 0, half, 1), 0)

    def spread(observation: float, action: np.ndarray) -> np.ndarray:
        with jax.ensure_compile_time_eval():  # whoever traces wants numbers all the same
            one = jnp.full(policy.observation_size, observation, jnp.float32)
            return np.array(history.see(one, history.begin(one, policy.action_size, n, action)))

    return spread(0, policy.bounds["middle"]), spread(1, factor)


def check(policy: Any, state: Any, start: Any, batch: tuple[int, ...]) -> tuple[Any, Any]:
    """Return memory, or None where all episodes begin, and where they do, of `predict`'s arguments.

    Raises:
      ObservationError: they do not fit a batch of observations, or the memory is missing.
    """
    n, shape = policy.config.history, (*batch, policy.input_size - policy.observation_size)
    began = np.asarray(False if start is None else start, bool)
    began = began.reshape(()) if began.size == 1 else began
    if began.shape not in ((), batch):
        raise ObservationError(f"episode_start: shape {began.shape}: it has one, or {batch}")
    if state is None and began.all():
        return None, None
    found = None if state is None else np.shape(state)
    if found != shape:
        given = "none" if found is None else f"shape {found}, not {shape}"
        raise ObservationError(
            f"state: {given}: this policy sees the last {n} observations: pass the state that "
            f"`predict` returned last, and episode_start=True where an episode begins"
        )
    return np.asarray(state, np.float32), np.broadcast_to(began, batch)
