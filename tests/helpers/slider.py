"""A MuJoCo model that a test moves by hand. Importing this imports MuJoCo."""

import jax
import jax.numpy as jnp
import mujoco
from flax import struct

from mjx_sac.envs.base import State
from mjx_sac.types import Step

XML = """
<mujoco><worldbody>
  <camera name="side" pos="0 -3 1" xyaxes="1 0 0 0 0 1"/>
  <geom type="plane" size="5 5 1"/>
  <geom type="box" size="1 1 1" group="3"/>
  <body name="cart" pos="0 0 1"><joint type="slide" axis="1 0 0"/>
    <geom type="ellipsoid" size="0.3 0.3 0.3" rgba="1 0 0 1"/>
  </body>
</worldbody></mujoco>
"""


class Inner(struct.PyTreeNode):
    qpos: jax.Array


class Slider:
    """Its body is one unit further to the right after every step of half a second; ends at 3."""

    observation_size = action_size = 1
    dt = 0.5

    def __init__(self, xml=XML):
        self.mj_model = mujoco.MjModel.from_xml_string(xml)

    def reset(self, key):
        return self._at(0.0)

    def step(self, state, action):
        state = self._at(state.inner.qpos[0] + 1.0)
        over = state.observation[0] >= 3
        return state, Step(state.observation, jnp.array(1.0), over, jnp.array(False))

    def _at(self, x):
        return State(jnp.full(1, x), Inner(jnp.asarray(self.mj_model.qpos0).at[0].set(x)))
