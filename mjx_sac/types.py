"""What flows between modules: transitions, states, and names of array shapes. No logic here."""

from typing import Any, NamedTuple

import jax
from flax import struct
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, UInt32

Params = Any
"""A pytree of network parameters."""

Key = UInt32[Array, " 2"]
"""A JAX random key in its raw form, which all Brax and MJX environments accept and a checkpoint
stores as is."""

Scalar = Float[Array, ""]
Metrics = dict[str, jax.Array]
"""Scalars by tag, and from a loss arrays with the batch on their first axis, of which statistics
are taken. Over an epoch all are averaged, but `*_min` keeps the minimum, `*_max` the maximum."""


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Return the arrays of a pytree under the names that a checkpoint gives them."""
    leaves = jax.tree.leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), x) for path, x in leaves]


class Transition(NamedTuple):
    """One step of an environment; every field carries the same leading batch axes.

    Attributes:
      observation: what the actor saw.
      action: what it did, in [-1, 1].
      reward: what it got, unscaled.
      discount: gamma, or 0 where the episode terminated. A truncated episode keeps gamma.
      next_observation: what it saw next, before any reset.

    With `n_step`, n of them: the reward is their discounted sum, and gamma to the n-th is kept.
    """

    observation: Float[Array, "*batch observation"]
    action: Float[Array, "*batch action"]
    reward: Float[Array, "*batch"]
    discount: Float[Array, "*batch"]
    next_observation: Float[Array, "*batch observation"]


Batch = Transition
"""Transitions with one axis in front."""


class Step(NamedTuple):
    """What an environment returns for one action.

    Attributes:
      observation: the true next observation, before any reset.
      terminated: the task ended the episode: nothing can be earned after it.
      truncated: something else did, such as a time limit: the value of `observation` still counts.
    """

    observation: Float[Array, "*batch observation"]
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]


class Variables(NamedTuple):
    """What networks carry that no gradient trains, such as running statistics of BatchNorm.

    A loss that returns them third says how they are after this gradient step; None leaves them.
    """

    actor: Any = None
    critic: Any = None


class TrainState(struct.PyTreeNode):
    """What gradient steps change.

    Attributes:
      actor_params: of the policy.
      critic_params: of all critics, stacked on the first axis of every leaf.
      target_critic_params: their slow copy; None where the losses do without.
      log_alpha: logarithm of the temperature.
      actor_optimizer: state of the actor's optimizer; likewise for the other two.
      since_target_update: gradient steps since the target critics moved. Not a running count, so
        it never overflows.
      since_actor_update: the same for actor and temperature; None where they move every time.
      target_actor_params: slow copy of the actor; None unless the losses want it.
      actor_variables: see `Variables`; None where the actor has none. Likewise
        `critic_variables`; target critics have none of their own.
    """

    actor_params: Params
    critic_params: Params
    target_critic_params: Any
    log_alpha: Scalar
    actor_optimizer: Any
    critic_optimizer: Any
    alpha_optimizer: Any
    since_target_update: Int32[Array, ""]
    since_actor_update: Int32[Array, ""] | None = None
    target_actor_params: Params | None = None
    actor_variables: Params | None = None
    critic_variables: Params | None = None

    @property
    def actor(self) -> Params:
        """All that the actor acts with: parameters and, where it has them, variables."""
        if not self.actor_variables:
            return self.actor_params
        return {**self.actor_params, **self.actor_variables}

    @property
    def critic(self) -> Params:
        """The same of the critics."""
        own = self.critic_params
        return {**own, **self.critic_variables} if self.critic_variables else own


class Operation:
    """One step of what an exported policy computes: its name, and arrays by name.

    An actor with a method `operations(variables)` that returns a list of them exports as npz and
    ONNX. They lead from what the actor is given to `mode()` of what it returns (a last tanh is one
    of them), with the variables as `actor.init` returns them and running statistics as they are.
    x is what the operation before returned:

    - affine: x @ kernel + bias, the kernel being [inputs, outputs]; without a bias give 0
    - scale: (x - center) * factor + offset, elementwise
    - relu, tanh, elu, silu, gelu (its tanh approximation), round (a half to the even number)
    - clip: x within low and high
    - layer_norm: (x - mean(x)) / sqrt(var(x) + eps) * scale + bias
    - rms_norm: x / sqrt(mean(x^2) + eps) * scale
    - l2_norm: x / max(norm(x), eps)
    - add: x + what entered the `back` operations before this one, as in residual connections

    BatchNorm is `Operation("scale", center=mean, factor=scale / sqrt(var + eps), offset=bias)`. A
    residual block of six operations ends with `Operation("add", back=6)`. Appending a constant is
    affine: kernel [I, 0], bias (0, ..., 0, constant).
    """

    def __init__(self, name: str, **arrays: ArrayLike) -> None:
        self.name, self.arrays = name, arrays
