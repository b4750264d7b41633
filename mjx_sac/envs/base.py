"""What an environment is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from mjx_sac.types import Key, Step


class State(struct.PyTreeNode):
    """A ready-made environment state: what the policy sees, and everything else.

    Attributes:
      observation: flat.
      inner: any pytree of arrays.
    """

    observation: Float[Array, " observation"]
    inner: Any


@runtime_checkable
class Environment(Protocol):
    """One environment, written without a batch axis, in pure JAX.

    Batching, the time limit, starting new episodes and protection against non-finite values are added around it, once, in
    `envs/episodes.py`. A state is any pytree of arrays with an `observation` attribute.
    """

    @property
    def observation_size(self) -> int:
        """Length of the flat observation."""
        ...

    @property
    def action_size(self) -> int:
        """Length of the flat action; actions arrive in [-1, 1]."""
        ...

    def reset(self, key: Key) -> Any:
        """A state drawn from the initial distribution."""
        ...

    def step(self, state: Any, action: Float[Array, " action"]) -> tuple[Any, Step]:
        """The next state, of the same structure and shapes, and what happened."""
        ...


def physics_precision() -> AbstractContextManager[Any]:
    """What `reset` and `step` are always called in: JAX traces a function anew for another precision, and MJX's take seconds."""
    return jax.default_matmul_precision("highest")


def reset_shape(reset: Callable[[Key], Any]) -> Any:
    """Shapes and types of the state that `reset` returns."""
    with physics_precision():
        return jax.eval_shape(reset, jax.ShapeDtypeStruct((2,), jnp.uint32))


def spaces(env: Any) -> dict[str, Any]:
    """What a policy needs to know of `env` to act without it, for JSON.

    Returns:
      "observation": a shape, or for a Dict or Tuple what its parts are, by key and in the order they are flattened in.
      "action": "shape", "dtype", and "low" and "high", flat; in [-1, 1] unless the environment says otherwise.
    """
    n = env.action_size
    action = {"shape": [n], "dtype": "float32", "low": [-1.0] * n, "high": [1.0] * n}
    return getattr(env, "spaces", None) or {"observation": [env.observation_size], "action": action}
