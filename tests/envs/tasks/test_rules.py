"""Observation, reward, termination and initial states against Gymnasium's, on states of C."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tasks import Beside, actions

from mjx_sac.config import UsageError
from mjx_sac.envs.tasks import SIZES, options
from mjx_sac.envs.tasks.rules import RULES

CHANGED = {
    "contact_cost_range": (0.5, 2.0),
    "contact_cost_weight": 0.25,
    "contact_force_range": (-0.25, 0.5),
    "ctrl_cost_weight": 0.75,
    "exclude_current_positions_from_observation": False,
    "forward_reward_weight": 2.5,
    "healthy_angle_range": (-0.01, 0.01),
    "healthy_reward": 3.5,
    "healthy_state_range": (-1.0, 0.5),
    "healthy_z_range": (0.3, 0.7),
    "impact_cost_range": (0.5, 2.0),
    "impact_cost_weight": 0.25,
    "include_cfrc_ext_in_observation": False,
    "include_cinert_in_observation": False,
    "include_cvel_in_observation": False,
    "include_qfrc_actuator_in_observation": False,
    "main_body": "aux_2",
    "reward_control_weight": 0.3,
    "reward_dist_weight": 0.7,
    "reward_near_weight": 2.0,
    "terminate_when_unhealthy": False,
    "uph_cost_weight": 4.0,
}
"""Another value of every option but those of the simulation: see `test_environment.py`."""

OF_THE_SIMULATION = {"xml_file", "frame_skip", "reset_noise_scale", "solver"}

CASES = [
    (name, option)
    for name in SIZES
    for option in [None, *sorted(options.check(name, {}).keys() - OF_THE_SIMULATION)]
]


def test_names_sizes_and_rules_are_gymnasiums():
    newest = {spec.id for spec in gymnasium.registry.values() if "mujoco" in str(spec.entry_point)}
    assert set(SIZES) == set(RULES) == {name for name in newest if name.endswith("v5")}
    for name, sizes in SIZES.items():
        host = Beside(name).host
        assert (host.observation_space.shape[0], host.model.nu) == sizes


@pytest.mark.parametrize(("name", "option"), CASES)
def test_an_option_does_what_it_does_in_gymnasium(name, option):
    with jax.enable_x64(True):
        task = Beside(name, **({option: CHANGED[option]} if option else {}))
        ends = set()
        for i, action in enumerate(actions(task.model.nu, 30)):
            before = task.place()
            control, (observation, reward, terminated, _, info) = task.step(action)
            ends.add(bool(terminated))
            if i not in (0, 9, 29):
                continue
            seen, terms, ended = task.judged(before, control)
            np.testing.assert_allclose(seen, observation, rtol=1e-12)
            np.testing.assert_allclose(sum(map(float, terms.values())), reward, rtol=1e-12)
            assert bool(ended) == terminated
            named = [key for key in terms if key in info]
            assert len(terms) - len(named) == (name == "HumanoidStandup-v5")
            assert [float(terms[key]) for key in named] == pytest.approx([info[k] for k in named])
    if option is None and name in ("Humanoid-v5", "Hopper-v5", "InvertedPendulum-v5"):
        assert ends == {False, True}


@pytest.mark.parametrize("name", SIZES)
def test_initial_states_are_distributed_as_gymnasiums(name):
    n, task = 1000, Beside(name)
    theirs = []
    for _ in range(n):
        task.host.reset_model()
        theirs.append(np.concatenate([task.host.data.qpos, task.host.data.qvel]))
    start = jnp.array(task.host.init_qpos), jnp.array(task.host.init_qvel)

    def draw(key):
        return jnp.concatenate(task.rules.start(task.o, task.model, *start, key))

    ours = np.array(jax.vmap(draw)(jax.random.split(jax.random.PRNGKey(0), n)))
    if place := {"Reacher-v5": slice(2, 4), "Pusher-v5": slice(7, 9)}.get(name):
        distance = np.linalg.norm(ours[:, place], axis=1)
        least, most = (0, 0.2) if name == "Reacher-v5" else (0.17, 0.37)
        assert least <= distance.min() <= distance.max() <= most
    for mine, other in zip(ours.T, np.array(theirs).T, strict=True):
        values = np.concatenate([mine, other]) + 1e-6
        ranks = [np.searchsorted(np.sort(x), values) / n for x in (mine, other)]
        # The largest distance of two empirical distributions: 1 in 500,000 exceeds it by chance.
        assert np.abs(ranks[0] - ranks[1]).max() < 0.12


def test_an_ant_that_is_not_finite_is_unhealthy():
    task = Beside("Ant-v5")
    task.host.data.qvel[0] = np.nan
    *_, ended = task.judged(0.0, np.zeros(8))
    assert ended


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("Antt-v5", {}, "env = 'mjx/Antt-v5': no such task; did you mean mjx/Ant-v5?"),
        ("zzz", {}, "known are Ant-v5, HalfCheetah-v5"),
        ("Ant-v5", {"healthy_rewrd": 1}, "'healthy_rewrd': mjx/Ant-v5 has no such option; did you"),
        ("Ant-v5", {"healthy_z_range": 1}, "'healthy_z_range': 1: give a list like [0.2, 1.0]"),
        ("Ant-v5", {"main_body": 1.5}, "'main_body': 1.5: give a whole number"),
        ("Ant-v5", {"frame_skip": "5"}, "'frame_skip': '5': give a whole number, such as 5"),
        ("Ant-v5", {"solver": "quick"}, "env_option = 'solver': 'quick': give exact or fast"),
        ("Ant-v5", {"render_mode": "human"}, "'render_mode': only changes how Gymnasium draws"),
        ("Ant-v5", {"default_camera_config": {}}, "'default_camera_config': only changes how"),
        ("Reacher-v5", {"reset_noise_scale": 1}, "has no such option"),
    ],
)
def test_what_is_no_task_or_option_is_one_line(name, given, words):
    with pytest.raises(UsageError) as error:
        options.check(name, given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_whole_numbers_serve_as_numbers():
    assert options.check("Ant-v5", {"forward_reward_weight": 1.5})["forward_reward_weight"] == 1.5
    assert repr(options.check("Ant-v5", {"healthy_reward": 2})["healthy_reward"]) == "2.0"
    assert options.check("Hopper-v5", {})["healthy_z_range"] == (0.7, float("inf"))
