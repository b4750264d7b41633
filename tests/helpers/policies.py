"""Policies that a test can compute by hand."""

import jax
import jax.numpy as jnp


def constant(policy, *outputs):
    """Make `policy` return tanh(outputs), scaled to its bounds, whatever it sees."""
    params = jax.tree.map(jnp.zeros_like, policy.actor_params)
    bias = jnp.concatenate([jnp.asarray(outputs, jnp.float32), jnp.zeros(policy.action_size)])
    params["params"]["MLP_0"]["Head_0"]["bias"] = bias
    policy.actor_params = params
    return policy
