"""Gymnasium's own MuJoCo tasks, simulated by C, beside their rules on MJX."""

from types import SimpleNamespace

import gymnasium
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from mjx_sac.envs.tasks import options
from mjx_sac.envs.tasks.environment import Physics, TaskState
from mjx_sac.envs.tasks.rules import RULES


class Beside:
    """A task in C, and what its rules say of the same state."""

    def __init__(self, name, **given):
        self.rules, self.o = RULES[name], SimpleNamespace(**options.check(name, given))
        self.host = gymnasium.make(name, disable_env_checker=True, **given).unwrapped
        self.model, self.first = self.host.model, self.host.reset(seed=0)[0]

    def place(self):
        return float(self.rules.place(self.o, self.model, self.host.data))

    def step(self, action):
        """Step C with an action in [-1, 1]; return its own control, and the five values."""
        low, high = self.model.actuator_ctrlrange.T
        control = low + (action.astype(np.float64) + 1) / 2 * (high - low)
        return control, self.host.step(control)

    def judged(self, before, control):
        """Observation, terms of the reward and termination, by the rules."""
        data = mjx.put_data(self.model, self.host.data)
        speed = (self.rules.place(self.o, self.model, data) - before) / self.host.dt
        score = self.rules.score(self.o, self.model, data, speed, jnp.asarray(control))
        return self.rules.observe(self.o, self.model, data), *score

    def state(self):
        """The state of C as one of ours."""
        data = self.host.data
        arrays = (jnp.array(x.copy()) for x in (data.qpos, data.qvel, data.qacc_warmstart))
        return TaskState(jnp.zeros(0), Physics(*arrays, jnp.array(self.place())), {})


def actions(size, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, size)).astype(np.float32)
