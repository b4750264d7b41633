"""MuJoCo's step in JAX, as its C code takes it. Put together from MJX's public functions."""

# pyright: basic, reportAttributeAccessIssue=false
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from jax.extend import core
from mujoco import mjx

PLANE, CAPSULE = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)


def forward(model: Any, data: Any) -> Any:
    """Return `data` with everything that follows from its positions, velocities and controls."""
    parts = (
        _kinematics if jax.default_backend() == "cpu" else mjx.kinematics,
        mjx.com_pos,
        mjx.tendon,
        mjx.crb,
        mjx.tendon_armature,
        mjx.factor_m,
        mjx.collision,
        with_frames,
        mjx.make_constraint,
        mjx.transmission,
        mjx.fwd_velocity,
        mjx.fwd_actuation,
        mjx.fwd_acceleration,
    )
    for part in parts:
        data = part(model, data)
    if data._impl.efc_J.size == 0:
        return data.replace(qacc=data.qacc_smooth)
    return mjx.solve(model, data)


def _kinematics(model: Any, data: Any) -> Any:
    """Return `mjx.kinematics(model, data)`, its vectors computed one after the other.

    A CPU's XLA fuses them, and computes each again for every number that depends on it, which
    grows exponentially along a chain of bodies: 16 of Pusher's arms took 30 seconds per step.
    """

    def value(x: Any) -> Any:
        return x.val if isinstance(x, core.Literal) else values[x]

    closed, shapes = jax.make_jaxpr(partial(mjx.kinematics, model), return_shape=True)(data)
    jaxpr, values = closed.jaxpr, dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(jaxpr.invars, jax.tree.leaves(data), strict=True))
    for operation in jaxpr.eqns:
        kind = operation.primitive
        found = kind.bind(*map(value, operation.invars), **operation.params)
        found = found if kind.multiple_results else [found]
        if kind.name == "concatenate":
            found = jax.lax.optimization_barrier(found)
        values |= dict(zip(operation.outvars, found, strict=True))
    return jax.tree.unflatten(jax.tree.structure(shapes), map(value, jaxpr.outvars))


def step(model: Any, data: Any) -> Any:
    """Return `data` one time step later.

    As in C, all but positions and velocities is that of the last evaluation of `forward`: before
    an Euler step, or at the last stage of a Runge-Kutta step.
    """
    if model.opt.integrator == mjx.IntegratorType.IMPLICITFAST:
        return mjx.implicit(model, forward(model, data))
    if model.opt.integrator == mjx.IntegratorType.EULER:
        return mjx.euler(model, forward(model, data))
    return _runge_kutta(model, data)


def alike(new: Any, old: Any) -> Any:
    """Return a loop's state with the types it began with: MJX changes some where x64 is enabled."""
    return jax.tree.map(lambda x, like: jnp.asarray(x, jnp.asarray(like).dtype), new, old)


def _runge_kutta(model: Any, first: Any) -> Any:
    """Return the step of fourth order; MJX's own compiles `forward` four times, this once."""
    dt = model.opt.timestep

    def stage(carry: Any, weights: Any) -> Any:
        (data, velocity, acceleration), (a, b) = carry, weights
        qvel = first.qvel + a * dt * data.qacc
        qpos = _moved(model, first.qpos, a * data.qvel)
        new = alike(forward(model, data.replace(qpos=qpos, qvel=qvel)), data)
        return (new, velocity + b * qvel, acceleration + b * new.qacc), None

    rest, still = jnp.zeros_like(first.qvel), first.replace(qacc=jnp.zeros_like(first.qacc))
    weights = jnp.array([0, 0.5, 0.5, 1]), jnp.array([1, 2, 2, 1]) / 6
    (data, velocity, acceleration), _ = jax.lax.scan(stage, (still, rest, rest), weights)
    qpos, qvel = _moved(model, first.qpos, velocity), first.qvel + dt * acceleration
    return data.replace(qpos=qpos, qvel=qvel, qacc_warmstart=data.qacc)


def _moved(model: Any, qpos: jax.Array, qvel: jax.Array) -> jax.Array:
    """Return positions after a time step at constant velocity: a step without acceleration."""
    undamped = model.opt.disableflags | mjx.DisableBit.EULERDAMP
    model = model.tree_replace({"opt.disableflags": undamped})
    return mjx.euler(model, mjx.make_data(model).replace(qpos=qpos, qvel=qvel)).qpos


def with_frames(model: Any, data: Any) -> Any:
    """Return `data` with the tangents that C gives contacts of a plane and a capsule.

    They follow the capsule's axis. Friction of a pyramidal cone depends on them. MJX 3.17 takes
    the y axis where the capsule is steeper than 60 degrees.
    """
    contact = data._impl.contact
    if not contact.dist.size:
        return data
    first, second = contact.geom[:, 0], contact.geom[:, 1]
    kinds = jnp.asarray(model.geom_type)
    meant = (kinds[first] == PLANE) & (kinds[second] == CAPSULE)
    normal, axis = contact.frame[:, 0], data.geom_xmat[second][:, :, 2]
    tangent = axis - normal * jnp.sum(axis * normal, axis=-1, keepdims=True)
    length = jnp.linalg.norm(tangent, axis=-1, keepdims=True)
    upright = length < mujoco.mjMINVAL
    tangent = jnp.where(upright, jnp.eye(3)[0], tangent / jnp.where(upright, 1, length))
    frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
    frame = jnp.where(meant[:, None, None], frame, contact.frame)
    return data.tree_replace({"_impl.contact.frame": frame})
