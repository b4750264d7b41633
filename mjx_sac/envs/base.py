"""What an environment is: the protocol, a ready-made state, the precision of its physics."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from mjx_sac.config import EPISODE_LENGTH, Config
from mjx_sac.types import Key, Step


class State(struct.PyTreeNode):
    """A ready-made environment state: what the policy sees, flat, and any pytree of the rest."""

    observation: Float[Array, " observation"]
    inner: Any

    @property
    def metrics(self) -> Any:
        """What the rest reports, where it has `metrics`, as the states of Brax do."""
        return getattr(self.inner, "metrics", None)


@runtime_checkable
class Environment(Protocol):
    """One environment in pure JAX, without a batch axis.

    `envs/episodes.py` adds batching, the time limit, new episodes and protection against
    non-finite values. A state is any pytree of arrays with an `observation` attribute. An
    environment may have a `time_limit: int`, in steps, which holds unless `episode_length` is set.
    A state may have `metrics`, scalars by name to be logged, see `envs/reports.py`.

    Observations may also be dictionaries or tuples of arrays, see `envs/views.py`.

    With a method `randomize(keys [n, 2])`, which returns a pytree of arrays [n, ...], environments
    differ where `domain_randomization` asks for it: `reset` and `step` get what is one
    environment's as a last argument `model`. It is drawn once per run and environment.
    """

    @property
    def observation_size(self) -> int:
        """Length of the flat observation, of all parts together."""
        ...

    @property
    def action_size(self) -> int:
        """Length of the flat action; actions arrive in [-1, 1]."""
        ...

    def reset(self, key: Key) -> Any:
        """Return a state drawn from the initial distribution."""
        ...

    def step(self, state: Any, action: Float[Array, " action"]) -> tuple[Any, Step]:
        """Return the next state, of the same structure and shapes, and what happened."""
        ...


def physics_precision() -> AbstractContextManager[Any]:
    """Return the context in which `reset` and `step` are always traced."""
    return jax.default_matmul_precision("highest")


def reset_shape(reset: Callable[[Key], Any]) -> Any:
    """Return shapes and types of the state that `reset` returns."""
    with physics_precision():
        return jax.eval_shape(reset, jax.ShapeDtypeStruct((2,), jnp.uint32))


def episode_length(env: Any, config: Config) -> int:
    """Return after how many steps episodes end: as asked, at its own time limit, or by default.

    One on the host ends its episodes itself: the shorter limit counts.
    """
    asked, own = config.episode_length, getattr(env, "time_limit", None)
    if asked and own and hasattr(env, "simulator"):
        return min(asked, own)
    return asked or own or EPISODE_LENGTH
