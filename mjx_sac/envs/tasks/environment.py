"""A task of Gymnasium's as an `Environment`: its model, noise and rules, stepped by MJX."""

# pyright: basic, reportAttributeAccessIssue=false
import copy
import json
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
from flax import struct
from mujoco import mjx

from mjx_sac.config import UsageError
from mjx_sac.envs.tasks import options, physics
from mjx_sac.envs.tasks.rules import RULES
from mjx_sac.types import Key, Step

FAST = {"iterations": 8, "ls_iterations": 4}
"""What `solver=fast` changes of the model's options.

A search that has converged still takes the time of all `ls_iterations` where many environments are
stepped together. `benchmarks/mjx_tasks.py` measures what is lost.
"""

SPARE = 4
"""Room for contacts on Warp beyond those of MJX in JAX, which finds fewer for some cylinders."""


class Physics(struct.PyTreeNode):
    """What a step begins with; all else follows from it, and need not be kept.

    Attributes:
      place: in metres along x, as the reward measures it.
    """

    qpos: jax.Array
    qvel: jax.Array
    qacc_warmstart: jax.Array
    place: jax.Array


class TaskState(struct.PyTreeNode):
    """A state; `metrics` are the terms of the last reward."""

    observation: jax.Array
    inner: Physics
    metrics: dict[str, jax.Array]


class MujocoTask:
    """One of Gymnasium's MuJoCo tasks in JAX.

    Model, time step, initial state and bounds of the controls are those of an object of Gymnasium's
    own class, made with the same options.

    Attributes:
      mj_model: Gymnasium's model.
      mjx_model: the same for MJX, perhaps with another solver.
      blank: returns `mjx.Data` with room for everything.
      dt: seconds in a step.
      env_config: all its options, ready for JSON.
    """

    def __init__(
        self,
        name: str,
        impl: str = "jax",
        given: Mapping[str, Any] = MappingProxyType({}),
        copies: int = 1,
    ) -> None:
        """Make `name` with the options `given`, on MJX's implementation `jax` or `warp`.

        On Warp, as many `copies` as are stepped together share the room for contacts.

        Raises:
          UsageError: there is no such task or option, or Gymnasium refuses an option's value.
        """
        values, rules = options.check(name, given), RULES[name]
        self.env_config = json.loads(json.dumps(values))
        solver = values.pop("solver")
        host = _host(name, values)
        self.mj_model, self.dt = host.model, float(host.dt)
        self.observation_size, self.action_size = host.observation_space.shape[0], self.mj_model.nu
        self.time_limit = gymnasium.spec(name).max_episode_steps
        self._rules, self._frame_skip = rules, host.frame_skip
        self._given = SimpleNamespace(**values), self.mj_model
        self._start = host.init_qpos, host.init_qvel
        self._low, self._high = self.mj_model.actuator_ctrlrange.T
        self._warp, model = impl == "warp", _solvable(self.mj_model, solver)
        self.mjx_model: Any = mjx.put_model(model)
        self.blank = lambda: mjx.make_data(self.mjx_model)
        if self._warp:
            self._put_on_warp(model, copies)

    def _put_on_warp(self, model: Any, copies: int) -> None:
        """Have room for all contacts and constraints of which MJX in JAX keeps count."""
        from mjx_sac.envs import warp

        warp.quiet()
        counted = self.blank()._impl
        contacts, rows = len(counted.contact.dist) + SPARE, len(counted.efc_J) + 4 * SPARE
        room: Any = {"naconmax": copies * contacts, "njmax": rows}
        self.blank = lambda: mjx.make_data(model, impl="warp", **room)
        on_warp = warp.prepared(mjx.put_model(model, impl="warp"), warp.GRAPH_MODES[0])
        # Its step computes the contacts' forces on bodies, if asked.
        asked = {"opt._impl.run_rne_postconstraint": self._rules.forces}
        self.mjx_model = on_warp.tree_replace(asked)

    def reset(self, key: Key) -> TaskState:
        qpos, qvel = self._rules.start(*self._given, *map(jnp.asarray, self._start), key)
        data = self.blank().replace(qpos=qpos, qvel=qvel)
        data = (mjx.forward if self._warp else physics.forward)(self.mjx_model, data)
        # In C, quaternions keep their length up to the first step, and `cfrc_ext` is zero.
        forces = jnp.zeros_like(data._impl.cfrc_ext)
        data = data.tree_replace({"qpos": qpos, "_impl.cfrc_ext": forces})
        state, _ = self._seen(data, self.place(data), jnp.zeros(self.action_size, qpos.dtype))
        return state.replace(metrics=jax.tree.map(jnp.zeros_like, state.metrics))

    def step(self, state: TaskState, action: jax.Array) -> tuple[TaskState, Step]:
        control = self._low + (action + 1) / 2 * (self._high - self._low)
        control = jnp.asarray(control, state.inner.qpos.dtype)
        return self._seen(self._simulated(state.inner, control), state.inner.place, control)

    def place(self, data: Any) -> Any:
        """Return where it is, in metres; the reward pays for its speed."""
        return self._rules.place(*self._given, data)

    def _seen(self, data: Any, before: Any, control: jax.Array) -> tuple[TaskState, Step]:
        """Return what a step has led to: `before` it, the place was that."""
        place = self.place(data)
        speed = (place - before) / self.dt
        terms, terminated = self._rules.score(*self._given, data, speed, control)
        terms = {name: jnp.asarray(x, data.qpos.dtype) for name, x in terms.items()}
        terminated, observation = jnp.asarray(terminated), self._rules.observe(*self._given, data)
        reward = jnp.sum(jnp.stack([*terms.values()]))
        step = Step(observation, reward, terminated, jnp.zeros_like(terminated))
        inner = Physics(data.qpos, data.qvel, data.qacc_warmstart, place)
        return TaskState(observation, inner, terms), step

    def _simulated(self, start: Physics, control: jax.Array) -> Any:
        kept = {name: getattr(start, name) for name in ("qpos", "qvel", "qacc_warmstart")}
        step = mjx.step if self._warp else physics.step

        def body(_: Any, data: Any) -> Any:
            return physics.alike(step(self.mjx_model, data), data)

        first = self.blank().replace(**kept, ctrl=control)
        data = jax.lax.fori_loop(0, self._frame_skip, body, first)
        if self._rules.forces and not self._warp:
            return mjx.rne_postconstraint(self.mjx_model, data)
        return data


def _host(name: str, values: Mapping[str, Any]) -> Any:
    """Return Gymnasium's own environment."""
    try:
        host = options.constructor(name)(**values)
        if host.model.na:
            raise ValueError("the model's actuators have states of their own")
        if "main_body" in values:
            host.model.body(values["main_body"])
    except Exception as error:
        message = next(iter(str(error).splitlines()), "")
        raise UsageError(f"env = 'mjx/{name}': {type(error).__name__}: {message}") from error
    return host


def _solvable(model: Any, solver: str) -> Any:
    """Return a copy of the model for MJX, which has no PGS: Newton's method solves the same."""
    model = copy.copy(model)
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    for option, value in FAST.items() if solver == "fast" else ():
        setattr(model.opt, option, value)
    return model
