"""One form for every autoreset mode: true final observations, time limits, held and scaled actions, values that are no numbers."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from helpers.gymnasium_envs import Walk, walk

from mjx_sac.envs.host import callbacks
from mjx_sac.envs.host.callbacks import HostEpisodes
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment, VectorSimulator
from mjx_sac.envs.host.protocol import BrokenEnvironmentError

HERE = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_autoreset_mode_gives_the_true_final_observation_and_then_the_new_episode(mode):
    """An environment that terminates at 2, beside one that is cut at 3."""
    vector = SyncVectorEnv([lambda: Walk(ends_at=2), lambda: Walk(cut_at=3)], autoreset_mode=mode)
    simulator = VectorSimulator(vector, 1000, 1)
    current = simulator.reset(0)
    rows = [[], []]
    for _ in range(8):
        answer = simulator.step(np.zeros((2, 1), np.float32))
        for i in range(2):
            if answer.steps[i]:
                flags = "T" * int(answer.terminated[i]) + "C" * int(answer.truncated[i])
                rows[i].append((*current[i], *answer.observation[i], answer.reward[i], flags))
        current = answer.current
    first = [
        (0, 0, 0, 1, 0, ""),
        (0, 1, 0, 2, 1, "T"),
        (1, 0, 1, 1, 0, ""),
        (1, 1, 1, 2, 1, "T"),
        (2, 0, 2, 1, 0, ""),
    ]
    second = [
        (0, 0, 0, 1, 0, ""),
        (0, 1, 0, 2, 1, ""),
        (0, 2, 0, 3, 2, "C"),
        (1, 0, 1, 1, 0, ""),
        (1, 1, 1, 2, 1, ""),
    ]
    assert rows[0][:5] == first
    assert rows[1][:5] == second
    assert len(rows[0]) == (6 if mode is AutoresetMode.NEXT_STEP else 8), (
        "next-step autoreset spends steps on resets"
    )


def test_our_time_limit_cuts_where_gymnasium_has_none():
    simulator = walk().simulator(1, 3)
    simulator.reset(0)
    answers = [simulator.step(np.zeros((1, 1), np.float32)) for _ in range(4)]
    assert [bool(a.truncated[0]) for a in answers] == [False, False, True, False]
    assert answers[2].observation.tolist() == [[0, 3]]
    assert answers[2].current.tolist() == [[1, 0]]


def test_actions_are_scaled_to_the_space():
    env = Walk()
    simulator = GymnasiumEnvironment("walk", lambda: env).simulator(1, 1000)
    simulator.reset(0)
    for action in (-1.0, 0.0, 1.0):
        simulator.step(np.array([[action]], np.float32))
    assert [float(a[0]) for a in env.actions] == [-2.0, 1.0, 4.0]  # -2 + (a + 1) / 2 * 6


@pytest.mark.parametrize(
    ("ends_at", "limit", "steps", "flags"),
    [(5, 1000, [3, 2], "T"), (1000, 4, [3, 1], "C"), (1000, 6, [3, 3], "C")],
    ids=["terminates within a repeat", "is cut within a repeat", "is cut at the end of one"],
)
def test_an_action_is_held_for_action_repeat_steps_or_until_the_episode_ends(
    ends_at, limit, steps, flags
):
    """As on the device: `length` counts the environment's own steps, and none is taken beyond the limit."""
    env = Walk(ends_at=ends_at)
    simulator = GymnasiumEnvironment("walk", lambda: env, action_repeat=3).simulator(1, limit)
    simulator.reset(0)
    answers = [simulator.step(np.zeros((1, 1), np.float32)) for _ in range(2)]
    assert [int(a.steps[0]) for a in answers] == steps
    assert [float(a.reward[0]) for a in answers] == [0 + 1 + 2, sum(range(3, sum(steps)))]
    assert [(bool(a.terminated[0]), bool(a.truncated[0])) for a in answers] == [
        (False, False),
        (flags == "T", flags == "C"),
    ]
    assert env.total == sum(steps)
    assert answers[1].observation.tolist() == [[0, sum(steps)]]
    assert answers[1].current.tolist() == [[1, 0]]


def test_a_value_that_is_not_finite_ends_that_episode_alone():
    env = [Walk(), Walk(fault=lambda o, r: (o * np.nan, r))]
    env[1].total = 58
    simulator = VectorSimulator(
        SyncVectorEnv([lambda: env[0], lambda: env[1]], autoreset_mode=AutoresetMode.DISABLED),
        1000,
        1,
    )
    simulator.reset(0)
    answers = [simulator.step(np.zeros((2, 1), np.float32)) for _ in range(3)]
    assert [a.finite.tolist() for a in answers] == [[True, True], [True, False], [True, True]]
    assert answers[1].current.tolist() == [[0, 2], [1, 0]]
    assert np.isfinite(answers[1].observation).all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_follows_an_observation_that_is_not_finite_is_not_learned_from(mode):
    """Where Gymnasium resets by itself the episode goes on, and the step after is one from an unknown observation."""
    env = Walk(fault=lambda o, r: (o * np.nan, r))
    env.total = 58
    simulator = VectorSimulator(SyncVectorEnv([lambda: env], autoreset_mode=mode), 1000, 1)
    simulator.reset(0)
    answers = [
        simulator.step(np.full((1, 1), np.nan if step == 2 else 0.0, np.float32))
        for step in range(4)
    ]
    finite = [True, False, mode is AutoresetMode.DISABLED, True]
    assert [bool(a.finite[0]) for a in answers] == finite
    assert all(a.steps[0] for a in answers)
    assert np.isfinite(np.stack(env.actions)).all()


def test_a_reset_that_is_not_finite_is_not_learned_from():
    class Bad(Walk):
        def reset(self, **kwargs):
            observation, info = super().reset(**kwargs)
            return observation * np.nan, info

    simulator = GymnasiumEnvironment("bad", Bad).simulator(1, 1000)
    simulator.reset(0)
    answer = simulator.step(np.zeros((1, 1), np.float32))
    assert not answer.finite[0]


def test_whole_number_actions_are_rounded():
    env = type("Steps", (Walk,), {"action_space": spaces.Box(0, 4, (1,), np.int64)})()
    simulator = GymnasiumEnvironment("steps", lambda: env).simulator(1, 1000)
    simulator.reset(0)
    for action in (-1.0, 0.4, 1.0):  # 0, 2.8, 4
        simulator.step(np.array([[action]], np.float32))
    assert [int(a[0]) for a in env.actions] == [0, 3, 4]


@pytest.mark.parametrize(
    ("asked", "own", "limit"),
    [(None, 1600, 1600), (None, None, 1000), (50, 1600, 50), (2000, 1600, 1600), (50, None, 50)],
)
def test_the_time_limit_is_the_environments_own_unless_a_shorter_one_is_asked_for(
    asked, own, limit
):
    env = walk()
    env.time_limit = own
    assert HostEpisodes(env, 1, asked, 1, 60.0).episode_length == limit


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "mjx_sac", "train", "--env", "Pendulum-v1", "--logdir", os.devnull + "x"],
        [
            "-c",
            "import gymnasium_envs as g; from mjx_sac.envs.host import HostEpisodes as H; H(g.walk(), 1, None, 1, 60.0)",
        ],
    ],
    ids=["trained", "used"],
)
def test_a_gpu_alone_is_refused_in_one_line(command):
    """In a process of its own: JAX reads the variable once. It need not find a GPU to know of no CPU."""
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    result = subprocess.run(
        [sys.executable, *command], cwd=HERE, env=environment, capture_output=True, text=True
    )
    assert "JAX_PLATFORMS = 'cuda'" in result.stderr.splitlines()[-1]
    if command[0] == "-m":
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    else:
        assert result.stderr.endswith(
            "an environment on the host needs the CPU beside it: set it to cuda,cpu\n"
        )


class Parts(Walk):
    observation_space = spaces.Dict(
        {
            "b": spaces.Tuple((spaces.Box(-1, 1, (2, 2)), spaces.Box(-1, 1, ()))),
            "a": spaces.Box(0, 255, (1,), np.uint8),
        }
    )

    def _observation(self):
        return {
            "a": np.array([7], np.uint8),
            "b": (np.arange(4, dtype=np.float32).reshape(2, 2), np.float32(9)),
        }


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP])
def test_dictionaries_and_tuples_are_flattened_in_the_spaces_order(mode):
    env = GymnasiumEnvironment("parts", Parts)
    assert env.observation_size == 6
    vector = SyncVectorEnv([lambda: Parts(ends_at=1)] * 2, autoreset_mode=mode)
    simulator = VectorSimulator(vector, 1000, 1)
    assert simulator.reset(0).tolist() == [[7, 0, 1, 2, 3, 9]] * 2
    assert (
        simulator.step(np.zeros((2, 1), np.float32)).observation.tolist()
        == [[7, 0, 1, 2, 3, 9]] * 2
    )


def test_the_parts_of_an_environment_are_flattened_too_and_whatever_numbers_they_are():
    """A whole number's space does not round what comes: an observation is what the environment returned."""

    class Loose(Parts):
        def _observation(self):
            return {"a": [7.5], "b": ([[0, 1], [2, 3]], 9)}

    simulator = GymnasiumEnvironment("loose", Loose).simulator(2, 1000)
    assert simulator.reset(0).tolist() == [[7.5, 0, 1, 2, 3, 9]] * 2


def without_final(vector):
    step = vector.step
    vector.step = lambda action: (*step(action)[:4], {})


def of_another_size(vector):
    vector.step = lambda action: (
        np.zeros((2, 3), np.float32),
        np.zeros(2),
        *np.zeros((2, 2), bool),
        {},
    )


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (without_final, "without final_obs in its infos"),
        (of_another_size, "returned 3 numbers, its observation space has 2"),
    ],
)
def test_what_does_not_fit_from_a_vector_environment_is_told(break_it, told):
    vector = SyncVectorEnv([lambda: Walk(ends_at=1)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    break_it(vector)
    simulator = VectorSimulator(vector, 1000, 1)
    simulator.reset(0)
    with pytest.raises(BrokenEnvironmentError, match=told):
        simulator.step(np.zeros((2, 1), np.float32))


def test_columns_of_rewards_and_flags_are_taken_as_rows():
    vector = SyncVectorEnv([Walk, Walk], autoreset_mode=AutoresetMode.SAME_STEP)
    step = vector.step

    def in_columns(action):
        observation, *columns, infos = step(action)
        return observation, *(values[:, None] for values in columns), infos

    vector.step = in_columns
    simulator = VectorSimulator(vector, 1000, 1)
    simulator.reset(0)
    answer = simulator.step(np.zeros((2, 1), np.float32))
    assert answer.reward.shape == answer.terminated.shape == answer.finite.shape == (2,)


def test_what_the_host_returns_must_have_the_shape_that_was_agreed():
    """The program's own memory is written to, where NumPy would stretch one number over all environments."""
    call = jax.jit(
        lambda x: callbacks._call(lambda x: x[:1], jax.ShapeDtypeStruct((2,), jnp.float32), x)
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"returned shape \(1,\), not \(2,\)"):
        jax.block_until_ready(call(jnp.zeros(2)))
