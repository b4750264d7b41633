"""The tasks as environments: their physics beside C's, their models, what is refused."""

import shutil

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from helpers.policies import constant
from helpers.runs import make_config, make_policy
from helpers.tasks import Beside, actions
from mujoco import mjx

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import catalog, registry
from mjx_sac.envs.tasks import SIZES, physics
from mjx_sac.envs.tasks.environment import FAST, MujocoTask
from mjx_sac.policy.evaluate import evaluate_policy

PENDULUM = "InvertedPendulum-v5"


@pytest.mark.parametrize(
    ("name", "given", "tolerance"),
    [
        # An unstable balance, frames skipped by an option; a joint's limit from step 40 on.
        (PENDULUM, {"frame_skip": 3}, 1e-6),
        # Contacts with pyramidal friction, solved to rounding in C and here.
        pytest.param("Hopper-v5", {}, 1e-11, marks=pytest.mark.slow),
        # Smooth but for a joint's limit, where the solvers stop at a tolerance of 1e-8.
        pytest.param("Reacher-v5", {}, 1e-6, marks=pytest.mark.slow),
    ],
)
def test_a_hundred_steps_end_where_those_of_c_end(name, given, tolerance):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        env, task = MujocoTask(name, given=given), Beside(name, **given)
        state, step = task.state(), jax.jit(env.step)
        for i, action in enumerate(actions(env.action_size, 100)):
            state, ours = step(state, jnp.array(action, jnp.float64))
            _, (observation, reward, terminated, *_) = task.step(action)
            if i in (0, 9, 99):
                bound = 1e-13 if i == 0 else tolerance
                np.testing.assert_allclose(ours.observation, observation, bound, bound)
                np.testing.assert_allclose(ours.reward, reward, bound, bound)
                assert bool(ours.terminated) == terminated
    assert env.dt == task.host.dt


def test_a_task_resets_and_steps_as_the_trainer_takes_it():
    config = make_config(env=f"mjx/{PENDULUM}", env_options={"reset_noise_scale": 0.5})
    env = envs.make(config.env, config)
    assert (env.observation_size, env.action_size, env.time_limit) == (4, 1, 1000)
    assert env.env_config == {
        "xml_file": "inverted_pendulum.xml",
        "frame_skip": 2,
        "reset_noise_scale": 0.5,
        "solver": "exact",
    }
    state = env.reset(jax.random.PRNGKey(0))
    np.testing.assert_array_equal(state.observation[:2], state.inner.qpos)
    assert 0.01 < np.abs(state.observation).max() <= 0.5
    assert {name: float(x) for name, x in state.metrics.items()} == {"reward_survive": 0.0}


def test_a_policy_earns_as_much_on_the_host():
    """A steady push of 0.06: the pole falls after 11 to 15 steps, by its first state."""
    config = make_config(env=f"mjx/{PENDULUM}", episode_length=100)
    environment = envs.make(config.env, config)
    policy = constant(make_policy(environment, env=config.env, episode_length=100), 0.02)
    ours = evaluate_policy(policy, episodes=256, seed=0)["return"]
    theirs = evaluate_policy(policy, env=PENDULUM, episodes=256, seed=1)["return"]
    error = np.sqrt((ours.var() + theirs.var()) / 256)
    assert abs(ours.mean() - theirs.mean()) < 4 * error < 0.4
    assert 11 < ours.mean() < 15


def test_names_reach_all_that_lists_them():
    rows = {row.env: row for row in catalog.rows("mjx/")}
    assert len(rows) == len(SIZES) == 11
    for name, sizes in SIZES.items():
        limit = gymnasium.spec(name).max_episode_steps
        assert rows[f"mjx/{name}"][1:5] == ("MuJoCo MJX, on the device", *sizes, limit)
        envs.check(f"mjx/{name}")
        assert envs.by_brax(f"mjx/{name}")
        assert not envs.is_gym_id(f"mjx/{name}")
    registry.register_with_gymnasium()
    assert gymnasium.spec("mjx_sac/Reacher-v5").max_episode_steps == 50


def test_a_wrong_option_is_refused_before_jax_starts():
    with pytest.raises(UsageError, match="did you mean mjx/Hopper-v5"):
        envs.check("mjx/hopper-v5")
    with pytest.raises(UsageError, match="did you mean frame_skip"):
        envs.check("mjx/Hopper-v5", env_options={"frame_skp": 2})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"xml_file": "no.xml"}, "env = 'mjx/Ant-v5': OSError: File"),
        ({"frame_skip": 0}, "env = 'mjx/Ant-v5': "),
        ({"main_body": "tail"}, "env = 'mjx/Ant-v5': KeyError: "),
    ],
)
def test_what_gymnasium_refuses_is_one_line(given, words):
    with pytest.raises(UsageError) as error:
        MujocoTask("Ant-v5", given=given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_of_the_users_own_is_used(tmp_path):
    own = tmp_path / "pendulum.xml"
    shutil.copy(Beside(PENDULUM).host.fullpath, own)
    own.write_text(own.read_text().replace('timestep="0.02"', 'timestep="0.01"'))
    assert MujocoTask(PENDULUM, given={"xml_file": str(own)}).dt == 0.02


def test_fast_has_fewer_iterations_and_newton_is_for_pgs():
    newton = mujoco.mjtSolver.mjSOL_NEWTON
    for name in ("Humanoid-v5", "HalfCheetah-v5"):
        theirs = Beside(name).model.opt
        for solver in ("exact", "fast"):
            env = MujocoTask(name, given={"solver": solver})
            ours = env.mjx_model.opt
            assert ours.solver == newton
            assert env.mj_model.opt.solver == theirs.solver
            iterations = {key: getattr(ours, key) for key in FAST}
            wanted = FAST if solver == "fast" else {key: getattr(theirs, key) for key in FAST}
            assert iterations == wanted


def _ant_on_the_floor():
    task, forces = Beside("Ant-v5"), np.zeros(1)
    for action in actions(8, 30):
        if np.abs(forces).max() < 1:
            task.step(action)
            forces = task.host.data.cfrc_ext
    assert np.abs(forces).max() > 1
    return task


def test_tangents_of_a_steep_capsule_follow_its_axis():
    with jax.enable_x64(True):
        task = _ant_on_the_floor()
        model, data = mjx.put_model(task.model), mjx.put_data(task.model, task.host.data)
        frames, contacts = np.array(data._impl.contact.frame), task.host.data.ncon
        default = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)
        blank = data.tree_replace({"_impl.contact.frame": jnp.array(frames * 0 + default)})
        found = np.array(physics.with_frames(model, blank)._impl.contact.frame)
        touching = np.array(data._impl.contact.dist) < 0.02
        assert touching.sum() == contacts
        np.testing.assert_allclose(found[touching], frames[touching], atol=1e-12)
        assert np.abs(found[touching] - default).max() > 0.1


def test_contact_forces_on_bodies_are_those_of_c():
    with jax.enable_x64(True):
        task = _ant_on_the_floor()
        model, data = mjx.put_model(task.model), mjx.put_data(task.model, task.host.data)
        forces = jax.jit(mjx.rne_postconstraint)(model, data)._impl.cfrc_ext
        np.testing.assert_allclose(forces, task.host.data.cfrc_ext, atol=1e-9)


def test_on_warp_there_is_room_for_all_contacts():
    pytest.importorskip("warp")
    env, options = MujocoTask("Ant-v5", "warp", copies=8), MujocoTask("Ant-v5").mjx_model.opt
    assert env.mjx_model.opt._impl.run_rne_postconstraint
    assert env.mjx_model.opt.iterations == options.iterations
    room = env.blank()._impl
    # 25 contacts and 108 constraints for MJX in JAX, and some to spare.
    assert (room.naconmax, room.njmax) == (8 * 29, 124)
    keys = jax.ShapeDtypeStruct((8, 2), jnp.uint32)
    state = jax.eval_shape(jax.vmap(env.reset), keys)
    actions = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    after, step = jax.eval_shape(jax.vmap(env.step), state, actions)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert step.observation.shape == (8, 105)
