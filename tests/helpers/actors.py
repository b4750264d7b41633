"""Actors of other shapes than the default one, and what they compute as a list of operations."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mjx_sac import networks
from mjx_sac.networks import TanhGaussian
from mjx_sac.types import Operation


def scattered(variables):
    """Return `variables` as if trained: biases, scales and running statistics, too."""
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.PRNGKey(2), len(leaves))
    noise = [0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    moved = [x + jnp.maximum(y, -0.5) for x, y in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(structure, moved)


def batch_norm(variables, i, eps=1e-3):
    """Return BatchNorm number `i` in inference."""
    trained, running = (variables[kind][f"BatchNorm_{i}"] for kind in ("params", "batch_stats"))
    factor = trained["scale"] / jnp.sqrt(running["var"] + eps)
    return Operation("scale", center=running["mean"], factor=factor, offset=trained["bias"])


class Residual(nn.Module):
    """Two residual blocks with BatchNorm between RMS norm and an input BatchNorm, as FlashSAC's."""

    action_size: int

    @nn.compact
    def __call__(self, observation):
        def norm(x):
            return nn.BatchNorm(use_running_average=True, epsilon=1e-3)(x)

        x = nn.Dense(8, use_bias=False)(norm(observation))
        for _ in range(2):
            hidden = nn.relu(norm(nn.Dense(16, use_bias=False)(x)))
            x = x + nn.relu(norm(nn.Dense(8, use_bias=False)(hidden)))
        mean = nn.Dense(self.action_size)(nn.RMSNorm(epsilon=1e-6)(x))
        return TanhGaussian(mean / 4, jnp.ones_like(mean))

    def operations(self, variables):
        p, relu = variables["params"], Operation("relu")
        dense = [Operation("affine", kernel=p[f"Dense_{i}"]["kernel"], bias=0) for i in range(5)]
        norm = [batch_norm(variables, i) for i in range(5)]
        return [
            *(norm[0], dense[0]),
            *(dense[1], norm[1], relu, dense[2], norm[2], relu, Operation("add", back=6)),
            *(dense[3], norm[3], relu, dense[4], norm[4], relu, Operation("add", back=6)),
            Operation("rms_norm", scale=p["RMSNorm_0"]["scale"], eps=1e-6),
            Operation("affine", **p["Dense_5"]),
            Operation("scale", center=0, factor=0.25, offset=0),
            Operation("tanh"),
        ]


class Varied(nn.Module):
    """A constant appended, then every norm and activation in turn; the mode is clipped."""

    action_size: int

    @nn.compact
    def __call__(self, observation):
        x = jnp.concatenate([observation, jnp.full((*observation.shape[:-1], 1), 3.0)], axis=-1)
        x = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
        for activation in (nn.gelu, nn.silu, nn.elu, jnp.tanh):
            x = activation(nn.LayerNorm()(nn.Dense(16)(x)))
        return Clipped(nn.Dense(self.action_size)(x))

    def operations(self, variables):
        p, size = variables["params"], variables["params"]["Dense_0"]["kernel"].shape[0] - 1
        append = {"kernel": jnp.eye(size, size + 1), "bias": jnp.eye(size + 1)[-1] * 3}
        steps = [Operation("affine", **append), Operation("l2_norm", eps=1e-8)]
        for i, activation in enumerate(("gelu", "silu", "elu", "tanh")):
            norm = Operation("layer_norm", **p[f"LayerNorm_{i}"], eps=1e-6)
            steps += [Operation("affine", **p[f"Dense_{i}"]), norm, Operation(activation)]
        return [*steps, Operation("affine", **p["Dense_4"]), Operation("clip", low=-1, high=1)]


class Clipped:
    """A distribution whose mode is its mean between -1 and 1."""

    def __init__(self, mean):
        self.mean = mean

    def mode(self):
        return jnp.clip(self.mean, -1, 1)


class Normed(nn.Module):
    """The default actor's layers, with layer norm."""

    action_size: int

    @nn.compact
    def __call__(self, observation):
        mean = networks.MLP((8, 8, 8), self.action_size, "silu", layer_norm=True)(observation)
        return TanhGaussian(mean, jnp.ones_like(mean))

    def operations(self, variables):
        layers = networks.mlp_operations(variables["params"]["MLP_0"], "silu", self.action_size)
        return [*layers, Operation("tanh")]


class Contradicting(networks.Actor):
    """Acts otherwise than the operations that it inherits."""

    @nn.compact
    def __call__(self, observation):
        layers = networks.MLP(self.hidden_sizes, 2 * self.action_size, self.activation)
        return TanhGaussian.from_network(1 - layers(observation))
