"""All of Playground's tasks: those that can be loaded here, and what the others say.

Sizes are those of Playground 0.2.0; nothing is compiled.
"""

import math

import jax
import numpy as np
import pytest

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import catalog, playground
from mjx_sac.envs.base import physics_precision

registry = pytest.importorskip("mujoco_playground").registry
pytestmark = pytest.mark.slow

DM_CONTROL = {
    "AcrobotSwingup": (6, 1),
    "AcrobotSwingupSparse": (6, 1),
    "BallInCup": (8, 2),
    "CartpoleBalance": (5, 1),
    "CartpoleBalanceSparse": (5, 1),
    "CartpoleSwingup": (5, 1),
    "CartpoleSwingupSparse": (5, 1),
    "CheetahRun": (17, 6),
    "FingerSpin": (9, 2),
    "FingerTurnEasy": (12, 2),
    "FingerTurnHard": (12, 2),
    "FishSwim": (24, 5),
    "HopperHop": (15, 4),
    "HopperStand": (15, 4),
    "HumanoidStand": (67, 21),
    "HumanoidWalk": (67, 21),
    "HumanoidRun": (67, 21),
    "PendulumSwingup": (3, 1),
    "PointMass": (4, 2),
    "ReacherEasy": (6, 2),
    "ReacherHard": (6, 2),
    "SwimmerSwimmer6": (25, 5),
    "WalkerRun": (24, 6),
    "WalkerStand": (24, 6),
    "WalkerWalk": (24, 6),
}
"""Numbers of an observation and of an action."""

ROBOTS = {
    "G1JoystickFlatTerrain": (216, 103, 29, 1000),
    "G1JoystickRoughTerrain": (216, 103, 29, 1000),
    "Go1JoystickFlatTerrain": (123, 48, 12, 1000),
    "Go1JoystickRoughTerrain": (123, 48, 12, 1000),
    "Go1Getup": (91, 42, 12, 300),
    "Go1Handstand": (94, 45, 12, 500),
    "Go1Footstand": (94, 45, 12, 500),
}
"""Numbers that critics and actor see, of an action, and steps of an episode."""


def test_all_of_dm_control_load():
    assert DM_CONTROL.keys() == {*registry.dm_control_suite.ALL_ENVS}
    for name, sizes in DM_CONTROL.items():
        env = envs.make(f"playground/{name}")
        assert (env.observation_size, env.action_size) == sizes, name
        assert (env.time_limit, env.views) == (1000, None), name


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_load_with_what_actor_and_critics_see(robots, name):
    critics, actor, action, time_limit = ROBOTS[name]
    env = envs.make(f"playground/{name}")
    assert (env.action_size, env.time_limit) == (action, time_limit)
    assert {k: math.prod(shape) for k, shape in env.views.shapes.items()} == {
        "privileged_state": critics,
        "state": actor,
    }
    assert env.observation_size == critics, "the actor's are among them, kept once"
    assert (env.views.critic, env.views.actor) == (((0, critics),), ((0, actor),))


def test_robots_without_their_files_say_so_in_a_line(robots):
    listed = {row.env: row for row in catalog.rows("playground/")}
    assert len(listed) == len(registry.ALL_ENVS) == 54
    there = {name: row for name, row in listed.items() if not row.missing}
    assert there.keys() >= {f"playground/{name}" for name in (*DM_CONTROL, *ROBOTS)}
    for name, row in listed.items():
        assert row.time_limit == registry.get_default_config(name[11:]).episode_length
        if row.missing:
            assert row.missing.endswith("of MuJoCo Menagerie")
            with pytest.raises(UsageError, match=f"^env = '{name}': no files of its robot in"):
                envs.make(name)


def test_the_actors_part_is_bitwise_inside_the_critics(robots):
    """In 256 observations under random actions, what the program says is so."""
    env = playground.make("Go1JoystickFlatTerrain", "jax")

    def play(key):
        def step(state, action):
            state, step = env.step(state, action)
            return state, step.observation

        action_key, reset_key = jax.random.split(key)
        actions = jax.random.uniform(action_key, (64, env.action_size), minval=-1.0)
        return jax.lax.scan(step, env.reset(reset_key), actions)[1]

    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    with physics_precision():  # what is not optimised compiles in half the time
        lowered = jax.jit(jax.vmap(play)).lower(keys)
    seen = lowered.compile({"xla_backend_optimization_level": 0})(keys)
    n = seen["state"].shape[-1]
    bits = [np.asarray(x).view(np.uint32) for x in seen.values()]
    both = dict(zip(seen, bits, strict=True))
    np.testing.assert_array_equal(both["state"], both["privileged_state"][..., :n])
    assert len(np.unique(both["state"])) > 10_000
