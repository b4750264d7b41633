"""Every autoreset mode gives one form: true final observations, time limits, scaled actions."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from helpers.gymnasium_envs import Parts, Talking, Walk, walk

from mjx_sac.envs import reports
from mjx_sac.envs.host import autoreset
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.host.protocol import BrokenEnvironmentError

ZERO = np.zeros((1, 1), np.float32)
ZEROS = np.zeros((2, 1), np.float32)


def simulator_of(*envs, mode=AutoresetMode.DISABLED):
    """Return the simulator, reset."""
    vector = SyncVectorEnv([lambda env=env: env for env in envs], autoreset_mode=mode)
    simulator = autoreset.make(vector, 1000, 1)
    simulator.reset(0)
    return simulator


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_each_mode_gives_the_final_observation_then_the_new(mode):
    """An environment that terminates at 2, beside one that is cut at 3."""
    vector = SyncVectorEnv([lambda: Walk(ends_at=2), lambda: Walk(cut_at=3)], autoreset_mode=mode)
    simulator = autoreset.make(vector, 1000, 1)
    current = simulator.reset(0)
    rows = [[], []]
    for _ in range(8):
        step = simulator.step(ZEROS)
        for i in range(2):
            if step.steps[i]:
                flags = "T" * int(step.terminated[i]) + "C" * int(step.truncated[i])
                rows[i].append((*current[i], *step.observation[i], step.reward[i], flags))
        current = step.current
    # (episode, count) before and after, reward, flags
    assert rows[0][:5] == [
        (0, 0, 0, 1, 0, ""),
        (0, 1, 0, 2, 1, "T"),
        (1, 0, 1, 1, 0, ""),
        (1, 1, 1, 2, 1, "T"),
        (2, 0, 2, 1, 0, ""),
    ]
    assert rows[1][:5] == [
        (0, 0, 0, 1, 0, ""),
        (0, 1, 0, 2, 1, ""),
        (0, 2, 0, 3, 2, "C"),
        (1, 0, 1, 1, 0, ""),
        (1, 1, 1, 2, 1, ""),
    ]
    # Next-step autoreset spends steps on resets.
    assert len(rows[0]) == (6 if mode is AutoresetMode.NEXT_STEP else 8)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_what_environments_say_is_summed_over_a_held_action(vectorization):
    """Success, steps left to 10, what is missing in some steps, half the reward."""
    simulator = walk(vectorization, 2, Talking, ends_at=3).simulator(1, 9, once=True)
    try:
        simulator.reset(0)
        held, ended, idle = (simulator.step(ZERO).metrics for _ in range(3))
    finally:
        simulator.close()
    np.testing.assert_array_equal(held, [[0, 9 + 8, np.nan, 0.5]])
    np.testing.assert_array_equal(ended, [[1, 7, 1, 1]])
    assert not idle.any(), "it does nothing more"


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_a_vector_environment_says_reaches_the_step(mode):
    """Of two, which terminate at three steps and at two: success, steps left to 10, what is said at
    odd steps alone, half the reward.
    """
    kinds = [lambda: Talking(ends_at=3), lambda: Talking(ends_at=2)]
    vector = SyncVectorEnv(kinds, autoreset_mode=mode)
    names = ("is_success", "left", "odd", "reward_half")
    simulator = autoreset.make(vector, 1000, 1, reported=names)
    simulator.reset(0)
    rows = [[], []]
    for _ in range(8):
        step = simulator.step(ZEROS)
        assert (step.metrics.shape, step.metrics.dtype) == ((2, 4), np.float32)
        for i in range(2):
            if step.steps[i]:  # in the next-step mode a reset is no step
                rows[i].append(step.metrics[i])
    first, second, third = [0, 9, 1, 0], [0, 8, np.nan, 0.5], [1, 7, 1, 1]
    np.testing.assert_array_equal(rows[0][:5], [first, second, third, first, second])
    np.testing.assert_array_equal(rows[1][:5], [first, second, first, second, first])


COLUMNS = [
    ({"x": np.array([1, 2]), "_x": np.array([True, False])}, [1, np.nan]),
    ({"x": [True, False]}, [1, 0]),
    ({"x": np.array([1.5, None])}, [1.5, np.nan]),
    ({"x": 3}, [3, 3]),
    ({"x": np.zeros(3)}, [np.nan, np.nan]),
    ({"x": "text"}, [np.nan, np.nan]),
    ({}, [np.nan, np.nan]),
]


@pytest.mark.parametrize(("infos", "expected"), COLUMNS)
def test_a_number_that_is_missing_or_none_is_nan(infos, expected):
    np.testing.assert_array_equal(reports.column(infos, "x", 2), expected)


def test_our_time_limit_cuts_where_gymnasium_has_none():
    simulator = walk().simulator(1, 3)
    simulator.reset(0)
    steps = [simulator.step(ZERO) for _ in range(4)]
    assert [bool(s.truncated[0]) for s in steps] == [False, False, True, False]
    assert steps[2].observation.tolist() == [[0, 3]]
    assert steps[2].current.tolist() == [[1, 0]]


def test_actions_are_scaled_to_the_space():
    env = Walk()
    simulator = simulator_of(env)
    for action in (-1.0, 0.0, 1.0):
        simulator.step(np.array([[action]], np.float32))
    assert [float(a[0]) for a in env.actions] == [-2.0, 1.0, 4.0]  # -2 + (a + 1) / 2 * 6


@pytest.mark.parametrize(
    ("space", "actions", "scaled"),
    [
        (spaces.Box(0, 4, (1,), np.int64), (-1.0, 0.4, 1.0), [0, 3, 4]),  # 2 + 0.4 * 2 = 2.8
        (spaces.Box(-100, 100, (1,), np.int8), (-1.0, 0.0, 1.0), [-100, 0, 100]),
    ],
    ids=["rounded", "narrow"],
)
def test_whole_number_actions_are_rounded(space, actions, scaled):
    env = type("Steps", (Walk,), {"action_space": space})()
    simulator = simulator_of(env)
    for action in actions:
        simulator.step(np.array([[action]], np.float32))
    assert [int(a[0]) for a in env.actions] == scaled


def test_a_non_finite_value_ends_that_episode_alone():
    envs = [Walk(), Walk(fault=lambda o, r: (o * np.nan, r), at=(2,))]
    simulator = simulator_of(*envs)
    steps = [simulator.step(ZEROS) for _ in range(3)]
    assert [s.finite.tolist() for s in steps] == [[True, True], [True, False], [True, True]]
    assert steps[1].current.tolist() == [[0, 2], [1, 0]]
    assert np.isfinite(steps[1].observation).all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_step_from_a_non_finite_observation_is_not_finite(mode):
    """Where Gymnasium resets by itself, the episode continues from an unknown observation."""
    env = Walk(fault=lambda o, r: (o * np.nan, r), at=(2,))
    simulator = simulator_of(env, mode=mode)
    actions = (0.0, 0.0, np.nan, 0.0)
    steps = [simulator.step(np.full((1, 1), action, np.float32)) for action in actions]
    assert [bool(s.finite[0]) for s in steps] == [
        True,
        False,
        mode is AutoresetMode.DISABLED,
        True,
    ]
    assert all(s.steps[0] for s in steps)
    assert np.isfinite(np.stack(env.actions)).all()


def test_a_reset_that_is_not_finite_is_not_learned_from():
    class Bad(Walk):
        def reset(self, **kwargs):
            observation, info = super().reset(**kwargs)
            return observation * np.nan, info

    assert not simulator_of(Bad()).step(ZERO).finite[0]


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP])
def test_dicts_and_tuples_are_flattened_in_the_spaces_order(mode):
    env = GymnasiumEnvironment("parts", Parts)
    assert env.observation_size == 6
    vector = SyncVectorEnv([lambda: Parts(ends_at=1)] * 2, autoreset_mode=mode)
    simulator = autoreset.make(vector, 1000, 1)
    assert simulator.reset(0).tolist() == [[7, 0, 1, 2, 3, 9]] * 2
    assert simulator.step(ZEROS).observation.tolist() == [[7, 0, 1, 2, 3, 9]] * 2


def without_final(vector):
    step = vector.step
    vector.step = lambda action: (*step(action)[:4], {})


def of_another_size(vector):
    flags = np.zeros((2, 2), bool)
    vector.step = lambda action: (np.zeros((2, 3), np.float32), np.zeros(2), *flags, {})


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (without_final, "without final_obs in its infos"),
        (of_another_size, "returned 3 numbers, its observation space has 2"),
    ],
)
def test_a_vector_env_that_breaks_its_promises_is_named(break_it, words):
    vector = SyncVectorEnv([lambda: Walk(ends_at=1)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    break_it(vector)
    simulator = autoreset.make(vector, 1000, 1)
    simulator.reset(0)
    with pytest.raises(BrokenEnvironmentError, match=words):
        simulator.step(ZEROS)


def test_columns_of_rewards_and_flags_are_taken_as_rows():
    vector = SyncVectorEnv([Walk, Walk], autoreset_mode=AutoresetMode.SAME_STEP)
    step = vector.step

    def in_columns(action):
        observation, *columns, infos = step(action)
        return observation, *(values[:, None] for values in columns), infos

    vector.step = in_columns
    simulator = autoreset.make(vector, 1000, 1)
    simulator.reset(0)
    result = simulator.step(ZEROS)
    assert result.reward.shape == result.terminated.shape == result.finite.shape == (2,)
