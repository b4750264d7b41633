"""The example of mirrored transitions, against Playground's own code on C MuJoCo."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from helpers.runs import make_config

from mjx_sac.algorithms import loader
from mjx_sac.training.host import compile
from mjx_sac.types import Transition

FILE = pathlib.Path(__file__).parents[2] / "docs/examples/go1_mirrored.py"


@pytest.fixture(scope="module")
def example():
    loader.find(str(FILE))
    return sys.modules["algorithm_go1_mirrored"]


def test_a_reflection_of_a_reflection_is_what_it_was(example):
    random = np.random.default_rng(0)
    for size in (48, 123):
        x = random.normal(size=(5, size)).astype(np.float32)
        assert not np.array_equal(example.mirrored(x), x)
        np.testing.assert_array_equal(example.mirrored(example.mirrored(x)), x)
    x = random.normal(size=(5, 12))
    np.testing.assert_array_equal(example.mirrored_action(example.mirrored_action(x)), x)
    with pytest.raises(ValueError, match=r"91 numbers are no .* \[48, 123\]"):
        example.mirrored(np.zeros(91))


def test_a_batch_gets_its_reflection_below_it(example):
    sizes = ((4, 48), (4, 12), (4,), (4,), (4, 48))
    batch = Transition(*(np.random.default_rng(1).normal(size=size) for size in sizes))
    found = example.augment(batch, jax.random.PRNGKey(0))
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new[:4], old), found, batch)
    for field in ("reward", "discount"):
        np.testing.assert_array_equal(getattr(found, field)[4:], getattr(found, field)[:4])
    for field in ("observation", "next_observation"):
        both = getattr(found, field)
        np.testing.assert_array_equal(both[4:], example.mirrored(both[:4]))
    np.testing.assert_array_equal(found.action[4:], example.mirrored_action(found.action[:4]))


def test_it_fits_the_environments_sizes(example):
    config, algorithm = make_config(batch_size=8), loader.find(str(FILE)).algorithm
    static = {"networks": algorithm.networks(config, 12), "config": config}
    for size in (48, 123):
        assert compile.trace_update((size, 12), algorithm, **static)[1] == 16


class Data:
    """A state of C MuJoCo with the fields that Playground reads of MJX's."""

    def __init__(self, model, raw):
        self.model, self.raw = model, raw

    def __getattr__(self, name):
        x = np.array(getattr(self.raw, name))
        return jnp.asarray(x.reshape(-1, 3, 3) if name == "site_xmat" else x)


def step_in_c(_, data, ctrl, substeps):
    raw = mujoco.MjData(data.model)
    mujoco.mj_copyData(raw, data.model, data.raw)
    raw.ctrl[:] = ctrl
    mujoco.mj_step(data.model, raw, substeps)
    return Data(data.model, raw)


@pytest.fixture(scope="module")
def go1(robots):
    """Playground's environment without noise, stepped by C MuJoCo."""
    from mujoco_playground._src import mjx_env

    from mjx_sac.envs import playground

    with pytest.MonkeyPatch.context() as patch:
        env = playground.make("Go1JoystickFlatTerrain", "jax", {"noise_config.level": 0.0}).env
        patch.setattr(mjx_env, "step", step_in_c)
        yield env


def in_the_plane(model, body):
    """Move a body's mass into its plane y = 0, about which it then is symmetric."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    rotation = rotation.reshape(3, 3)
    inertia = rotation @ np.diag(model.body_inertia[body]) @ rotation.T
    inertia[[0, 1, 1, 2], [1, 0, 2, 1]] = 0
    values, axes = np.linalg.eigh(inertia)
    axes[:, 0] *= np.sign(np.linalg.det(axes))
    model.body_inertia[body], model.body_ipos[body, 1] = values, 0
    mujoco.mju_mat2Quat(model.body_iquat[body], axes.ravel())


def as_its_reflection(model):
    """Make the robot what its reflection is: its trunk, its shanks and its IMU are not."""
    model.site_pos[model.site("imu").id, 1] = 0
    for name in ("trunk", *(f"{leg}_calf" for leg in ("FR", "FL", "RR", "RL"))):
        in_the_plane(model, model.body(name).id)
    mujoco.mj_setConst(model, mujoco.MjData(model))


def pair(example, env, seed):
    """A state in which the robot stands, moves and is pushed, and that state's reflection."""
    from mujoco_playground._src.mjx_env import State

    random, model = np.random.default_rng(seed), env.mj_model
    vector, rotation = map(np.array, (example.VECTOR, example.ROTATION))
    joints = lambda x: np.asarray(example.mirrored_action(x))  # noqa: E731
    legs = lambda x: x[np.array(example.SWAPPED)]  # noqa: E731
    turn = np.array([1, *random.normal(0, 0.05, 3)])
    at = np.concatenate([[0.2, 0.3, 0.27], turn, env._init_q[7:] + random.normal(0, 0.1, 12)])
    moves, push = random.normal(0, 0.1, 18), random.normal(size=3)
    info = {
        "command": random.uniform(-1, 1, 3),
        "last_act": random.uniform(-0.1, 0.1, 12),
        "feet_air_time": random.uniform(0, 0.3, 4),
        "last_contact": np.array([False, True, True, False]),
        "swing_peak": random.uniform(0, 0.1, 4),
    }
    reflected = {
        "command": info["command"] * example.COMMAND,
        "last_act": joints(info["last_act"]),
        **{name: legs(info[name]) for name in ("feet_air_time", "last_contact", "swing_peak")},
    }
    turned = np.concatenate([at[:3] * vector, turn * [1, -1, 1, -1], joints(at[7:])])
    moving = np.concatenate([moves[:3] * vector, moves[3:6] * rotation, joints(moves[6:])])
    fixed = {
        "rng": jax.random.PRNGKey(0),
        "last_last_act": np.zeros(12),
        "steps_until_next_cmd": 1000,
        "steps_since_last_pert": 0,
        "steps_until_next_pert": 1000,
    }
    states = []
    for qpos, qvel, force, own in (
        (at, moves, push, info),
        (turned, moving, push * vector, reflected),
    ):
        raw = mujoco.MjData(model)
        raw.qpos[:], raw.qvel[:] = qpos, qvel
        raw.xfrc_applied[env._torso_body_id, :3] = force
        whole = jax.tree.map(jnp.asarray, {**fixed, **own})
        states.append(State(Data(model, raw), {}, 0.0, 0.0, {}, whole))
    return states


def played(example, env, seed, steps):
    """Yield after each step the robot's state and that of its reflection, acting alike."""
    random, (one, other) = np.random.default_rng(100 + seed), pair(example, env, seed)
    for _ in range(steps):
        action = random.uniform(-0.1, 0.1, 12).astype(np.float32)
        one = env.step(one, jnp.asarray(action))
        other = env.step(other, jnp.asarray(example.mirrored_action(action)))
        yield one, other


def test_of_the_robot_as_it_is_only_what_its_imu_measures_differs(example, go1):
    one, other = pair(example, go1, seed=0)
    for state in (one, other):
        mujoco.mj_forward(go1.mj_model, state.data.raw)
    seen, same = (go1._get_obs(x.data, dict(x.info))["privileged_state"] for x in (other, one))
    seen, expected = np.array(seen), np.array(example.mirrored(same))
    # v + w x r at r = (x, y, z) is w x (0, 2 y, 0) more than the reflection of what is measured at
    # (x, -y, z); y is -0.067.
    side = np.array([0, 2 * go1.mj_model.site("imu").pos[1], 0])
    assert side[1] == pytest.approx(-0.133, abs=1e-3)
    velocities, accelerations = (slice(0, 3), slice(57, 60)), slice(51, 54)
    assert np.abs(seen - expected)[:3].max() > 1e-3
    for where in velocities:
        expected[where] += np.cross(seen[48:51], side)
    expected[accelerations] = seen[accelerations]
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)


def test_a_reflected_robot_observes_the_reflection_and_earns_the_same(example, go1):
    as_its_reflection(go1.mj_model)
    contacts, rewards = set(), []
    for seed in range(3):
        for one, other in played(example, go1, seed, steps=4):
            for part in ("state", "privileged_state"):
                seen, expected = other.obs[part], example.mirrored(one.obs[part])
                np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4, err_msg=part)
            np.testing.assert_allclose(other.reward, one.reward, rtol=1e-4)
            assert one.metrics.keys() == other.metrics.keys()
            for name, value in one.metrics.items():
                np.testing.assert_allclose(other.metrics[name], value, atol=1e-4, err_msg=name)
            contacts.add(one.data.raw.ncon)
            rewards.append(float(one.reward))
    assert max(rewards) > 0, "they are cut off there"
    assert len(contacts) > 1, "feet come down and leave the floor"
