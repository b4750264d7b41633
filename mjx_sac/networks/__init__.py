"""The actor and the ensemble of critics."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mjx_sac.config import Config
from mjx_sac.networks.products import Dense, Join, add_bias
from mjx_sac.types import Key, Operation, Params

MIN_STD = 1e-3
"""Keeps the density bounded; Brax's SAC uses the same floor."""


def _softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # `jax.nn.softplus` also minds two infinite arguments, which costs 1 % of an update.
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(jnp.minimum(x, -x)))


class TanhGaussian(NamedTuple):
    """The distribution of tanh(x) with x ~ Normal(mean, std), independent per action dimension."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]

    @classmethod
    def from_network(cls, output: Float[Array, "*batch twice_action"]) -> "TanhGaussian":
        """Read the mean off the first half, and the deviation off the softplus of the second."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return cls(mean, _softplus(raw) + MIN_STD)

    def mode(self) -> Float[Array, "*batch action"]:
        """Return the deterministic action, tanh(mean)."""
        return jnp.tanh(self.mean)

    def sample(self, key: Key) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch"]]:
        """Return a reparametrised action in (-1, 1) and its log-probability.

        log pi(a) = sum_i log Normal(x_i) - log(1 - tanh(x_i)^2) (arXiv:1812.05905, appendix C).
        The last term is computed as 2 (log 2 - x - softplus(-2x)), which is finite for every x.
        """
        noise = jax.random.normal(key, self.mean.shape)
        x = self.mean + self.std * noise
        log_normal = -0.5 * jnp.square(noise) - jnp.log(self.std) - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - x - _softplus(-2 * x))
        return jnp.tanh(x), jnp.sum(log_normal - log_slope, axis=-1)


_HEAD_INIT = nn.initializers.lecun_uniform(in_axis=-1, out_axis=-2)


class Head(nn.Module):
    """A dense layer with few outputs.

    Its kernel is kept transposed, as its gradient comes cheaply: the other way round, XLA's product
    of a wide and a narrow matrix takes eight times as long on a CPU.
    """

    width: int
    kernel_init: Any = _HEAD_INIT

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch width"]:
        kernel = self.param("kernel", self.kernel_init, (self.width, x.shape[-1]))
        return add_bias(self, jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (1,)), ((), ()))))


class MLP(nn.Module):
    """Hidden layers with an activation each, then a linear output.

    Attributes:
      activation: a name in `jax.nn`.
      layer_norm: normalise every hidden layer before its activation, as in DroQ (Hiraoka et al.,
        2021, arXiv:2110.02034).
      head_init: initializer of the output's kernel [output, features].
    """

    hidden_sizes: tuple[int, ...]
    output_size: int
    activation: str = "relu"
    layer_norm: bool = False
    head_init: Any = _HEAD_INIT

    @nn.compact
    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Float[Array, "*batch output"]:
        activation: Any = getattr(jax.nn, self.activation)
        for i, width in enumerate(self.hidden_sizes):
            x = (Dense if i else Join)(width)(*inputs)
            inputs = (activation(nn.LayerNorm()(x) if self.layer_norm else x),)
        return Head(self.output_size, self.head_init)(*inputs)


def mlp_operations(params: Params, activation: str, outputs: int) -> list[Operation]:
    """Return what an `MLP` with `params` computes, for the first `outputs` of its outputs."""
    operations: list[Operation] = []
    dense = sum(name.startswith("Dense_") for name in params)
    for i, name in enumerate(["Join_0", *(f"Dense_{i}" for i in range(dense))]):
        operations.append(Operation("affine", **params[name]))
        if (norm := params.get(f"LayerNorm_{i}")) is not None:
            operations.append(Operation("layer_norm", **norm, eps=1e-6))
        operations.append(Operation(activation))
    kernel, bias = params["Head_0"]["kernel"][:outputs].T, params["Head_0"]["bias"][:outputs]
    return [*operations, Operation("affine", kernel=kernel, bias=bias)]


class Actor(nn.Module):
    """The policy: observation -> distribution over actions in (-1, 1)."""

    action_size: int
    hidden_sizes: tuple[int, ...]
    activation: str = "relu"

    @nn.compact
    def __call__(self, observation: Float[Array, "*batch observation"]) -> TanhGaussian:
        layers = MLP(self.hidden_sizes, 2 * self.action_size, self.activation)
        return TanhGaussian.from_network(layers(observation))

    def operations(self, variables: Params) -> list[Operation]:
        """Return what `mode()` computes, for export."""
        mlp = variables["params"]["MLP_0"]
        return [*mlp_operations(mlp, self.activation, self.action_size), Operation("tanh")]


def copies(n: int, *inputs: Array) -> list[Array]:
    """Return each input n times on a new first axis, for n networks that run as one.

    Copies keep all layers batched products: given one input, XLA makes the first layer one wide
    product and transposes what comes out, there and back.
    """
    return [jnp.broadcast_to(x, (n, *x.shape)) for x in inputs]


class Critic(nn.Module):
    """Independent critics as one batched module: (observation, action) -> a value for each."""

    hidden_sizes: tuple[int, ...]
    activation: str = "relu"
    layer_norm: bool = False
    num_critics: int = 2

    @nn.compact
    def __call__(
        self, observation: Float[Array, "*batch observation"], action: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch critics"]:
        ensemble = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            out_axes=-1,
            axis_size=self.num_critics,
        )
        values = ensemble(self.hidden_sizes, 1, self.activation, self.layer_norm)
        return jnp.squeeze(values(*copies(self.num_critics, observation, action)), axis=-2)


class Networks(NamedTuple):
    """What the losses call.

    Attributes:
      actor: `apply(params, observation)` returns a distribution with `sample(key)` and `mode()`.
      critic: `apply(params, observation, action)` returns values [..., critics].
    """

    actor: Any
    critic: Any


def make(config: Config, action_size: int) -> Networks:
    """Return soft actor-critic's actor and critics."""
    sizes, activation = config.hidden_sizes, config.activation
    critic = Critic(sizes, activation, config.critic_layer_norm, config.num_critics)
    return Networks(Actor(action_size, sizes, activation), critic)
