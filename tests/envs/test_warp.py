"""MJX-Warp: the room that environments share for contacts, and what tells that it ran out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mjx_sac.config import UsageError
from mjx_sac.envs import warp
from mjx_sac.envs.playground import make
from mjx_sac.envs.warp import WarpEnvironment

pytest.importorskip("warp")


@pytest.mark.parametrize(
    ("given", "copies", "naconmax"),
    [
        ({}, 8192, 245_760),  # as Playground has it
        ({}, 128, 4 * 30 * 128),
        ({}, 4096, 245_760),
        ({}, 10_000, 30 * 10_000),
        ({"naconmax": 7}, 10_000, 7),
    ],
)
def test_room_for_contacts_grows_with_the_environments(given, copies, naconmax):
    defaults = {"naconmax": 30 * 8192, "njmax": 250}
    adapter, options = warp.prepare(given, defaults, copies)
    assert options == {"naconmax": naconmax}
    assert adapter.keywords == {"graph_mode": "warp_staged"}


def test_the_graph_mode_is_an_option():
    assert warp.prepare({"graph_mode": "warp"}, {}, 1)[0].keywords == {"graph_mode": "warp"}
    with pytest.raises(UsageError, match="env_option = 'graph_mode': 'jax' is none: choose warp_"):
        warp.prepare({"graph_mode": "jax"}, {}, 1)


class Physics(struct.PyTreeNode):
    overflow: jax.Array


class Data(struct.PyTreeNode):
    _impl: Physics

    def tree_replace(self, changes):
        assert changes.keys() == {"_impl.overflow"}
        return self.replace(_impl=Physics(changes["_impl.overflow"]))


class BraxLike(struct.PyTreeNode):
    data: Data
    obs: jax.Array
    reward: jax.Array
    done: jax.Array
    metrics: dict[str, Any]


class Flags:
    """Warp's flags: the action's are added to those of before, as long as nobody clears them."""

    action_size = 1

    def reset(self, key):
        zero = jnp.float32(0)
        data = Data(Physics(jnp.int32(0)))
        return BraxLike(data, jnp.zeros(1), zero, zero, {"height": jnp.float32(2)})

    def step(self, state, action):
        flags = state.data._impl.overflow | action[0].astype(jnp.int32)
        return state.replace(data=Data(Physics(flags)))


def test_each_step_says_whether_room_was_missing():
    env = WarpEnvironment(Flags())
    state = env.reset(jax.random.PRNGKey(0))
    seen = [float(state.metrics["overflow"])]
    contacts, iterations, line_search = 8.0, 512.0, 1024.0
    for flag in (0.0, contacts, 0.0, iterations, line_search, iterations + contacts):
        state, _ = env.step(state, jnp.array([flag]))
        seen.append(float(state.metrics["overflow"]))
    assert seen == [0, 0, 1, 0, 0, 0, 1]  # solvers that use all iterations are no loss
    assert float(state.metrics["height"]) == 2.0


@pytest.mark.slow
def test_warp_is_the_same_physics_on_a_cpu():
    """Kernels compile in a minute; MuJoCo's documentation wants a GPU, but none is needed."""
    returns, positions = [], []
    for impl in ("jax", "warp"):
        env = make("CartpoleBalance", impl)

        def play(key, env=env):
            def step(state, _):
                state, step = env.step(state, jnp.array([0.3]))
                return state, (step.reward, step.observation)

            return jax.lax.scan(step, env.reset(key), None, length=20)[1]

        reward, observation = jax.jit(jax.vmap(play))(jax.random.split(jax.random.PRNGKey(0), 3))
        returns.append(np.sum(reward, axis=-1))
        positions.append(np.asarray(observation))
    assert np.isfinite(positions).all()
    np.testing.assert_allclose(*returns, rtol=1e-3)
    np.testing.assert_allclose(*positions, atol=1e-3)
