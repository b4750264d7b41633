"""Predict, export and evaluate over shapes and types of observations and actions."""

import copy
import functools

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from helpers.policies import constant
from helpers.runs import make_policy

import mjx_sac
from mjx_sac import envs
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import numpy_policy

OBSERVATIONS = {
    "()": spaces.Box(-1, 1, ()),
    "(1,) float64": spaces.Box(-1, 1, (1,), np.float64),
    "(2, 3) float16": spaces.Box(-1, 1, (2, 3), np.float16),
    "(2, 1) uint8": spaces.Box(0, 255, (2, 1), np.uint8),
    "(3,) int64": spaces.Box(-5, 5, (3,), np.int64),
    "(2,) bool": spaces.Box(0, 1, (2,), np.bool_),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, ()), b=spaces.Box(0, 9, (1, 2), np.int8)),
    "Tuple": spaces.Tuple([spaces.Box(-1, 1, ()), spaces.Dict(c=spaces.Box(-1, 1, (2,)))]),
}
ACTIONS = {
    "() float32": spaces.Box(-1, 3, ()),
    "() int8": spaces.Box(-128, 127, (), np.int8),
    "(1,) float64": spaces.Box(-0.1, 0.7, (1,), np.float64),
    "(2, 2) float16": spaces.Box(-60_000, 60_000, (2, 2), np.float16),
    "(2,) equal": spaces.Box(0.3, 0.3, (2,), np.float64),
    "(2,) uint8": spaces.Box(np.uint8([0, 3]), np.uint8([255, 5]), dtype=np.uint8),
    "(1, 2) bool": spaces.Box(0, 1, (1, 2), np.bool_),
}
GRID = [(name, "() float32") for name in OBSERVATIONS] + [("()", name) for name in ACTIONS]


class Drawing(gymnasium.Env):
    """Draws its observations, and refuses what is no action."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return self.observation_space.sample(), 1.0, False, False, {}


@functools.cache
def policy_for(observation, action):
    def make():
        return Drawing(OBSERVATIONS[observation], ACTIONS[action])

    name = f"{observation}, {action}"
    envs.register(name, make)
    return make_policy(GymnasiumEnvironment(name, make), env=name)


@pytest.mark.parametrize(("observation", "action"), GRID)
def test_predict_takes_one_or_many_and_stays_inside(observation, action, tmp_path):
    policy = policy_for(observation, action)
    seen, acted = OBSERVATIONS[observation], ACTIONS[action]
    seen.seed(0)
    several = [seen.sample() for _ in range(3)]
    flat = np.float32([spaces.flatten(seen, one) for one in several])
    scalar = seen.shape == ()  # whose batch has one axis, not two
    batch = policy.predict(flat[:, 0] if scalar else flat)[0]
    assert (batch.shape, batch.dtype) == ((3, *acted.shape), acted.dtype)
    for one, row, expected in zip(several, flat, batch, strict=True):
        for given in (one,) if scalar else (one, row):
            found = policy.predict(given)[0]
            np.testing.assert_allclose(np.float64(found), np.float64(expected), rtol=1e-3, atol=1)
            assert found.shape == acted.shape
        assert acted.contains(policy.predict(one, deterministic=False)[0])
    mjx_sac.export_policy(policy, tmp_path / "policy.npz", "npz")
    exported = numpy_policy.load(tmp_path / "policy.npz")(flat).reshape(batch.shape)
    near = 1e-4 if acted.dtype.kind == "f" else 1  # a half may be rounded either way
    np.testing.assert_allclose(exported, np.float64(batch), rtol=1e-3, atol=near)


@pytest.mark.parametrize("action", ACTIONS)
def test_saturated_actions_are_the_bounds_themselves(action):
    policy, acted = copy.copy(policy_for("()", action)), ACTIONS[action]
    size = policy.action_size
    for output, bound in ((-100, acted.low), (100, acted.high)):
        found = constant(policy, *[output] * size).predict(np.float32(0))[0]
        assert acted.contains(found)
        np.testing.assert_allclose(np.float64(found), np.float64(bound), rtol=1e-6)


def test_booleans_are_the_nearer_of_the_two():
    """0.5 + 0.5 * tanh(x) is 0.12 and 0.88: not both true."""
    policy = constant(copy.copy(policy_for("()", "(1, 2) bool")), -1.0, 1.0)
    assert policy.predict(np.float32(0))[0].tolist() == [[False, True]]


SOME = [("()", "() int8"), ("Dict", "(2, 2) float16"), ("(2,) bool", "(1, 2) bool")]


@pytest.mark.parametrize(("observation", "action"), SOME)
def test_episodes_are_played(observation, action):
    played = mjx_sac.evaluate_policy(policy_for(observation, action), episodes=2)
    assert played["return"].tolist() == played["length"].tolist() == [5, 5]
