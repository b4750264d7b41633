"""What an environment may return, what it is handed, and where its randomness comes from."""

import random

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import Autoreset, RescaleAction, TimeLimit
from helpers.gymnasium_envs import Chancy, Walk

from mjx_sac.config import Config, UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment

ZEROS = np.zeros((2, 1), np.float32)


def kind(**methods):
    return type("Odd", (Walk,), methods)


def returning(change):
    """Return a kind whose steps return what `change` makes of them."""
    return kind(step=lambda self, action: change(*Walk.step(self, action)))


def played(make, steps=1, num_envs=2, seed=0):
    """Return the first observations and the steps of a simulator."""
    simulator = GymnasiumEnvironment("odd", make).simulator(num_envs, 1000)
    first = simulator.reset(seed)
    return first, [simulator.step(np.zeros((num_envs, 1), np.float32)) for _ in range(steps)]


class Scalar:
    """As other libraries have it."""

    def __init__(self, value):
        self.value = value

    def __array__(self, *_, **__):
        return np.array(self.value)

    def __repr__(self):
        return f"Scalar({self.value})"


ONE = [
    np.array([1.0]),
    np.array([[1]]),
    np.float32(1),
    np.array(1),
    1,
    True,
    jnp.ones(1),
    Scalar(1),
]


@pytest.mark.parametrize("one", ONE, ids=repr)
def test_any_form_of_one_number_is_a_reward_and_a_flag(one):
    _, (step,) = played(returning(lambda o, r, t, c, i: (o, one, one, c, i)))
    assert (step.reward.tolist(), step.terminated.tolist()) == ([1, 1], [True, True])
    _, (step,) = played(returning(lambda o, r, t, c, i: (o, r, t, one, i)))
    assert step.truncated.tolist() == [True, True]


WRONG_STEPS = {
    "four values": (lambda o, r, t, c, i: (o, r, t, i), "returned 4 values from step: must be obs"),
    "six values": (lambda o, r, t, c, i: (o, r, t, c, i, i), "returned 6 values from step"),
    "no tuple": (lambda o, r, t, c, i: o, "returned ndarray from step"),
    "no reward": (lambda o, r, t, c, i: (o, None, t, c, i), "returned reward None: must be one"),
    "text": (lambda o, r, t, c, i: (o, "1", t, c, i), "returned reward '1'"),
    "complex": (lambda o, r, t, c, i: (o, 1j, t, c, i), "returned reward 1j"),
    "two rewards": (lambda o, r, t, c, i: (o, [1, 2], t, c, i), "returned reward [1, 2]"),
    "no flag": (lambda o, r, t, c, i: (o, r, None, c, i), "returned terminated None"),
    "two flags": (lambda o, r, t, c, i: (o, r, t, o, i), "returned truncated array("),
    "size": (lambda o, r, t, c, i: (o[:1], r, t, c, i), "returned 1 numbers, its observation"),
    "nothing": (lambda o, r, t, c, i: (None, r, t, c, i), "observation that does not fit"),
    "texts": (lambda o, r, t, c, i: (["1", "2"], r, t, c, i), "observation that does not fit"),
    "hole": (lambda o, r, t, c, i: ([None, 1], r, t, c, i), "observation that does not fit"),
    "complex row": (lambda o, r, t, c, i: (o * 1j, r, t, c, i), "observation that does not fit"),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_a_wrong_step_is_said_when_the_first_is_made(case):
    change, words = WRONG_STEPS[case]
    with pytest.raises(UsageError) as error:
        GymnasiumEnvironment("odd", returning(change))
    assert str(error.value).startswith("env = 'odd': the environment, at its step 1, returned")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


WRONG_RESETS = {
    "no seed": (lambda self: (np.zeros(2), {}), "unexpected keyword argument 'seed'"),
    "no options": (lambda self, seed: (np.zeros(2), {}), "unexpected keyword argument 'options'"),
    "no info": (lambda self, **_: np.zeros(2), "(observation, info) from reset"),
    "pair of numbers": (lambda self, **_: (0.0, 0.0), "(observation, info) from reset"),
    "size": (lambda self, **_: (np.zeros(3), {}), "returned 3 numbers"),
    "raises": (lambda self, **_: 1 / 0, "raised ZeroDivisionError"),
}


@pytest.mark.parametrize("case", WRONG_RESETS)
def test_a_wrong_reset_is_said_when_the_first_is_made(case):
    closed, (reset, words) = [], WRONG_RESETS[case]
    with pytest.raises(UsageError) as error:
        GymnasiumEnvironment("odd", kind(reset=reset, close=lambda self: closed.append(self)))
    assert str(error.value).startswith("env = 'odd': the environment, at its step 0,")
    assert words in str(error.value)
    assert len(closed) == 1


def test_actions_seeds_and_options_are_as_gymnasium_passes_them():
    """To an environment that keeps what it is handed, and changes it."""
    made, resets = [], []

    class Greedy(Walk):
        def __init__(self):
            super().__init__()
            made.append(self)

        def reset(self, *, seed=None, options=None):
            resets.append((seed, options))
            return super().reset(seed=seed)

        def step(self, action):
            result = super().step(action.copy())
            action += 1
            return result

    env = GymnasiumEnvironment("greedy", Greedy, Config(action_repeat=3))
    simulator = env.simulator(2, 3)
    simulator.reset(7)
    for _ in range(2):
        simulator.step(ZEROS)
    assert [np.array(env.actions).tolist() for env in made[1:]] == [[[1.0]] * 6] * 2
    assert {(a.dtype, a.shape) for a in made[1].actions} == {(np.dtype("float32"), (1,))}
    assert resets[1:] == [(7, None), (8, None)] + [(None, None)] * 4
    assert {type(seed) for seed, _ in resets[1:3]} == {int}


def test_an_action_without_axes_is_an_array_too():
    env = kind(action_space=spaces.Box(-1, 1, ()), observation_space=spaces.Box(-1, 9, ()))
    made = []
    env._observation = lambda self: np.float32(self.count)
    _, steps = played(lambda: made.append(env()) or made[-1], 2)
    assert steps[1].observation.tolist() == [[2.0], [2.0]]
    assert [(type(a), a.shape) for a in made[1].actions] == [(np.ndarray, ())] * 2


def test_an_environment_may_use_its_memory_again():
    shared = np.zeros(2, np.float32)

    def observation(self):
        shared[:] = self.episode, self.count
        return shared

    first, steps = played(kind(_observation=observation), 2)
    assert first.tolist() == [[0, 0]] * 2
    assert [step.observation.tolist() for step in steps] == [[[0, 1]] * 2, [[0, 2]] * 2]


def drawn(make, seed):
    first, steps = played(make, 2, seed=seed)
    return np.concatenate([first, *(step.observation for step in steps)])


def test_spaces_are_seeded_under_wrappers_too():
    low, high = np.float32([-1]), np.float32([1])
    make = lambda: RescaleAction(Chancy(), low, high)  # noqa: E731
    one, two, other = (drawn(make, seed)[:, 2:] for seed in (3, 3, 7))  # what spaces gave
    np.testing.assert_array_equal(one, two)
    assert not (one == other).any()


def test_the_processes_own_generators_are_left_alone():
    random.seed(1), np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1), np.random.seed(1)
    played(Walk)
    assert (random.random(), np.random.random()) == expected


def episodes(make):
    """Return (final observation, terminated, truncated) of the first two episodes."""
    _, steps = played(make, 8, num_envs=1)
    over = [step for step in steps if step.terminated[0] or step.truncated[0]]
    return [(s.observation[0].tolist(), bool(s.terminated[0]), bool(s.truncated[0])) for s in over]


class SameStep(gymnasium.Wrapper):
    """Resets in the step that ends an episode, and tells the final observation."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info = {"final_observation": observation}
            observation, _ = self.env.reset()
        return observation, reward, terminated, truncated, info


def test_one_that_resets_itself_keeps_final_observations():
    assert episodes(lambda: TimeLimit(Walk(), 3)) == [([0, 3], False, True), ([1, 3], False, True)]
    assert episodes(lambda: Autoreset(TimeLimit(Walk(), 3))) == episodes(
        lambda: TimeLimit(Walk(), 3)
    )
    (first, second) = episodes(lambda: SameStep(Walk(ends_at=4)))
    assert (first[0][1], second[0][1]) == (4, 4)
    wrapper = type("AutoResetWrapper", (SameStep,), {})
    with pytest.raises(UsageError, match="AutoResetWrapper begins new episodes by itself: leave"):
        GymnasiumEnvironment("odd", lambda: RescaleAction(wrapper(Walk()), -1.0, 1.0))


def test_old_gyms_mark_of_a_time_limit_is_no_termination():
    change = lambda o, r, t, c, i: (o, r, True, False, {"TimeLimit.truncated": True})  # noqa: E731
    _, (step,) = played(returning(change))
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([False] * 2, [True] * 2)
