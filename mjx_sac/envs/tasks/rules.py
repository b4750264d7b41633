"""What each task observes, what it rewards, when it terminates, where its episodes start.

Functions of a task's options `o`, its model and `mjx.Data`. Each states what Gymnasium's class of
that name does; terms of the reward have the names that they have in its `info`.
"""

# pyright: basic
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Scored = tuple[dict[str, Any], Any]
"""The reward's terms by name, and whether the episode terminates."""


class Rules(NamedTuple):
    """One task.

    Attributes:
      observe: (o, model, data) to the observation.
      score: (o, model, data, speed, control) to the reward's terms and whether it terminates.
      place: (o, model, data) to where it is, in metres; its speed is rewarded.
      start: (o, model, qpos, qvel, key) to initial positions and velocities.
      forces: whether it wants `cfrc_ext`, the contacts' forces on each body.
    """

    observe: Callable[..., Any]
    score: Callable[..., Scored]
    start: Callable[..., tuple[Any, Any]]
    place: Callable[..., Any] = lambda o, model, data: data.qpos[0]
    forces: bool = False


def _coordinates(o: Any, model: Any, data: Any, skip: int = 0, limit: float = jnp.inf) -> Any:
    """Return positions, without those that say how far it has come, and bounded velocities."""
    hidden = skip if skip and o.exclude_current_positions_from_observation else 0
    return jnp.concatenate([data.qpos[hidden:], jnp.clip(data.qvel, -limit, limit)])


def _noisy(o: Any, model: Any, qpos: Any, qvel: Any, key: Any, draw: Callable[..., Any]) -> Any:
    """Return the model's positions with uniform noise, and velocities with noise from `draw`."""
    of_qpos, of_qvel = jax.random.split(key)
    qpos += o.reset_noise_scale * _uniform(of_qpos, qpos.shape)
    return qpos, qvel + o.reset_noise_scale * draw(of_qvel, qvel.shape)


_uniform = partial(jax.random.uniform, minval=-1.0, maxval=1.0)
_even, _normal = partial(_noisy, draw=_uniform), partial(_noisy, draw=jax.random.normal)


def _run(o: Any, speed: Any, control: Any) -> dict[str, Any]:
    """Return what all that run are paid."""
    effort = o.ctrl_cost_weight * jnp.sum(control**2)
    return {"reward_forward": o.forward_reward_weight * speed, "reward_ctrl": -effort}


def _survive(o: Any, terms: dict[str, Any], healthy: Any) -> Scored:
    """Return what those are paid that can fall over."""
    survive = {"reward_survive": healthy * o.healthy_reward}
    return terms | survive, ~healthy & o.terminate_when_unhealthy


def _between(x: Any, bounds: tuple[float, float]) -> Any:
    return (bounds[0] < x) & (x < bounds[1])


def _ant_forces(o: Any, data: Any) -> Any:
    return jnp.clip(data._impl.cfrc_ext, *o.contact_force_range)


def _ant_observe(o: Any, model: Any, data: Any) -> Any:
    seen = _coordinates(o, model, data, skip=2)
    if not o.include_cfrc_ext_in_observation:
        return seen
    return jnp.concatenate([seen, _ant_forces(o, data)[1:].ravel()])


def _ant_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    low, high = o.healthy_z_range
    finite = jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all()
    healthy = finite & (low <= data.qpos[2]) & (data.qpos[2] <= high)
    contact = {"reward_contact": -o.contact_cost_weight * jnp.sum(_ant_forces(o, data) ** 2)}
    return _survive(o, _run(o, speed, control) | contact, healthy)


def _cheetah_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    return _run(o, speed, control), False


def _walker_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    z, angle = data.qpos[1], data.qpos[2]
    healthy = _between(z, o.healthy_z_range) & _between(angle, o.healthy_angle_range)
    if hasattr(o, "healthy_state_range"):  # Hopper's
        state = jnp.concatenate([data.qpos, data.qvel])[2:]
        healthy &= _between(state, o.healthy_state_range).all()
    return _survive(o, _run(o, speed, control), healthy)


def _humanoid_observe(o: Any, model: Any, data: Any) -> Any:
    parts = {
        "cinert": data._impl.cinert[1:],
        "cvel": data.cvel[1:],
        "qfrc_actuator": data.qfrc_actuator[6:],
        "cfrc_ext": data._impl.cfrc_ext[1:],
    }
    wanted = [x for name, x in parts.items() if getattr(o, f"include_{name}_in_observation")]
    return jnp.concatenate([_coordinates(o, model, data, skip=2), *map(jnp.ravel, wanted)])


def _humanoid_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    healthy = _between(data.qpos[2], o.healthy_z_range)
    cost = o.contact_cost_weight * jnp.sum(data._impl.cfrc_ext**2)
    contact = {"reward_contact": -jnp.clip(cost, *o.contact_cost_range)}
    return _survive(o, _run(o, speed, control) | contact, healthy)


def _standup_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    impact = o.impact_cost_weight * jnp.sum(data._impl.cfrc_ext**2)
    # Gymnasium takes `uph_cost_weight`, and does not use it.
    terms = {
        "reward_linup": data.qpos[2] / model.opt.timestep,
        "reward_quadctrl": -o.ctrl_cost_weight * jnp.sum(control**2),
        "reward_impact": -jnp.clip(impact, *o.impact_cost_range),
        "reward_survive": 1.0,  # has no name there
    }
    return terms, False


def _pendulum_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    state = jnp.concatenate([data.qpos, data.qvel])
    fell = ~jnp.isfinite(state).all() | (jnp.abs(data.qpos[1]) > 0.2)
    return {"reward_survive": 1.0 - fell}, fell


def _double_observe(o: Any, model: Any, data: Any) -> Any:
    angles, force = data.qpos[1:], data.qfrc_constraint[:1]
    bounded = jnp.clip(jnp.concatenate([data.qvel, force]), -10, 10)
    return jnp.concatenate([data.qpos[:1], jnp.sin(angles), jnp.cos(angles), bounded])


def _double_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    (x, _, y), (v1, v2) = data.site_xpos[0], data.qvel[1:3]
    fell = y <= 1
    terms = {
        "reward_survive": o.healthy_reward * ~fell,
        "distance_penalty": -(0.01 * x**2 + (y - 2) ** 2),
        "velocity_penalty": -(1e-3 * v1**2 + 5e-3 * v2**2),
    }
    return terms, fell


def _between_bodies(model: Any, data: Any, one: str, other: str) -> Any:
    return data.xpos[model.body(one).id] - data.xpos[model.body(other).id]


def _reacher_observe(o: Any, model: Any, data: Any) -> Any:
    angles, way = data.qpos[:2], _between_bodies(model, data, "fingertip", "target")
    parts = jnp.cos(angles), jnp.sin(angles), data.qpos[2:], data.qvel[:2], way[:2]
    return jnp.concatenate(parts)


def _reach(o: Any, model: Any, data: Any, control: Any, one: str, other: str) -> dict[str, Any]:
    way = jnp.linalg.norm(_between_bodies(model, data, one, other))
    effort = o.reward_control_weight * jnp.sum(control**2)
    return {"reward_dist": -o.reward_dist_weight * way, "reward_ctrl": -effort}


def _reacher_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    return _reach(o, model, data, control, "fingertip", "target"), False


def _until(fits: Callable[[Any], Any], draw: Callable[[Any], Any], key: Any) -> Any:
    """Return the first of many draws that fits."""

    def again(carry: Any) -> Any:
        key, now = jax.random.split(carry[0])
        return key, draw(now)

    first = again((key, None))
    return jax.lax.while_loop(lambda carry: ~fits(carry[1]), again, first)[1]


def _reacher_start(o: Any, model: Any, qpos: Any, qvel: Any, key: Any) -> Any:
    of_qpos, of_qvel, of_goal = jax.random.split(key, 3)
    goal = _until(
        lambda x: jnp.linalg.norm(x) < 0.2, lambda key: 0.2 * _uniform(key, (2,)), of_goal
    )
    qpos = (qpos + 0.1 * _uniform(of_qpos, qpos.shape)).at[-2:].set(goal)
    return qpos, (qvel + 0.005 * _uniform(of_qvel, qvel.shape)).at[-2:].set(0)


def _pusher_observe(o: Any, model: Any, data: Any) -> Any:
    bodies = [data.xpos[model.body(name).id] for name in ("tips_arm", "object", "goal")]
    return jnp.concatenate([data.qpos[:7], data.qvel[:7], *bodies])


def _pusher_score(o: Any, model: Any, data: Any, speed: Any, control: Any) -> Scored:
    near = jnp.linalg.norm(_between_bodies(model, data, "object", "tips_arm"))
    terms = _reach(o, model, data, control, "object", "goal")
    return terms | {"reward_near": -o.reward_near_weight * near}, False


def _pusher_start(o: Any, model: Any, qpos: Any, qvel: Any, key: Any) -> Any:
    def draw(key: Any) -> Any:
        return jax.random.uniform(key, (2,)) * jnp.array([0.3, 0.4]) - jnp.array([0.3, 0.2])

    of_place, of_qvel = jax.random.split(key)
    place = _until(lambda x: jnp.linalg.norm(x) > 0.17, draw, of_place)
    qpos = qpos.at[-4:].set(jnp.concatenate([place, jnp.zeros(2)]))
    return qpos, (qvel + 0.005 * _uniform(of_qvel, qvel.shape)).at[-4:].set(0)


def _torso(o: Any, model: Any, data: Any) -> Any:
    return data.xpos[model.body(o.main_body).id, 0]


def _centre(o: Any, model: Any, data: Any) -> Any:
    return model.body_mass @ data.xipos[:, 0] / model.body_mass.sum()


_planar = partial(_coordinates, skip=1)
_bounded = partial(_coordinates, skip=1, limit=10)

RULES = {
    "Ant-v5": Rules(_ant_observe, _ant_score, _normal, _torso, forces=True),
    "HalfCheetah-v5": Rules(_planar, _cheetah_score, _normal),
    "Hopper-v5": Rules(_bounded, _walker_score, _even),
    "Humanoid-v5": Rules(_humanoid_observe, _humanoid_score, _even, _centre, forces=True),
    "HumanoidStandup-v5": Rules(_humanoid_observe, _standup_score, _even, forces=True),
    "InvertedDoublePendulum-v5": Rules(_double_observe, _double_score, _normal),
    "InvertedPendulum-v5": Rules(_coordinates, _pendulum_score, _even),
    "Pusher-v5": Rules(_pusher_observe, _pusher_score, _pusher_start),
    "Reacher-v5": Rules(_reacher_observe, _reacher_score, _reacher_start),
    "Swimmer-v5": Rules(partial(_coordinates, skip=2), _cheetah_score, _even),
    "Walker2d-v5": Rules(_bounded, _walker_score, _even),
}
