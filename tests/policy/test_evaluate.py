"""`evaluate_policy`: whole episodes, counted once each, of environments computed by hand."""

import numpy as np
import pytest
from helpers.envs import Counter
from helpers.gymnasium_envs import Walk
from helpers.policies import constant
from helpers.runs import make_config, make_policy

import mjx_sac
from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.policy.evaluate import evaluate_policies

pytestmark = pytest.mark.smoke


class Rewarding(Counter):
    """Rewards its start and 10 times the action."""

    def step(self, state, action):
        new, step = super().step(state, action)
        return new, step._replace(reward=state.observation[0] + 10 * action[0])


class Late(Walk):
    def __init__(self):
        super().__init__(ends_at=3)


@pytest.fixture(autouse=True, scope="module")
def _registered():
    envs.register("ends", lambda: Counter(ends_at=3))
    envs.register("breaks", lambda: Counter(breaks_at=3))
    envs.register("rewards", Rewarding)
    envs.register("late", Late)


def evaluate(env, episodes=4, policy=None, **how):
    return mjx_sac.evaluate_policy(
        policy or make_policy(Counter()), env=env, episodes=episodes, **how
    )


@pytest.mark.parametrize(
    ("env", "episode_return", "length", "terminated", "truncated"),
    [
        ("counter", 0 + 1 + 2 + 3 + 4, 5, False, True),  # the time limit
        ("ends", 0 + 1 + 2, 3, True, False),
        ("late", 0 + 1 + 2, 3, True, False),  # on the host
    ],
)
def test_episodes_end_once(env, episode_return, length, terminated, truncated):
    played = evaluate(env)
    np.testing.assert_array_equal(played["return"], [episode_return] * 4)
    np.testing.assert_array_equal(played["length"], [length] * 4)
    np.testing.assert_array_equal(played["terminated"], [terminated] * 4)
    np.testing.assert_array_equal(played["truncated"], [truncated] * 4)


def test_a_non_finite_episode_neither_terminates_nor_truncates():
    played = evaluate("breaks")
    assert not played["terminated"].any()
    assert not played["truncated"].any()
    assert np.isfinite(played["return"]).all()


def test_starts_differ_and_are_the_same_for_all_policies():
    """The policies act 0 and 1 in all five steps. 130 episodes are more than are played at once."""
    policies = [constant(make_policy(Counter()), output) for output in (0.0, 100.0)]
    zero, one = evaluate_policies(policies, env="rewards", episodes=130)
    assert len(np.unique(zero["return"])) == 130
    np.testing.assert_allclose(one["return"], zero["return"] + 5 * 10, rtol=1e-5)
    again = evaluate("rewards", 130, policies[0], seed=0)["return"]
    np.testing.assert_array_equal(again, zero["return"])
    assert (evaluate("rewards", 130, policies[0], seed=1)["return"] != again).all()


def test_actions_are_sampled_on_demand():
    policy = constant(make_policy(Counter()), 0.0)
    drawn, mode = (
        evaluate("rewards", policy=policy, deterministic=deterministic)["return"]
        for deterministic in (False, True)
    )
    assert (np.abs(drawn - mode) > 0.1).all()


def test_options_are_those_of_training_or_others_but_not_another_environments():
    policy, counter = make_policy(Counter()), "helpers.envs:Counter"
    policy.config = make_config(env=counter, env_options={"ends_at": 4})
    for how, length in (
        ({"env": None}, 4),
        ({"env": None, "env_options": ["ends_at=3"]}, 3),
        ({"env": counter}, 5),
        ({"env": counter, "env_options": ["ends_at=2"]}, 2),
    ):
        assert (evaluate(policy=policy, **how)["length"] == length).all()
    with pytest.raises(UsageError, match=r"'end_at': .* did you mean ends_at"):
        evaluate(None, policy=policy, env_options=["end_at=3"])
    with pytest.raises(UsageError, match="epsiodes: no such"):
        evaluate(None, policy=policy, epsiodes=3)


def test_an_environment_of_other_sizes_is_refused():
    with pytest.raises(UsageError, match=r"'Pendulum-v1'.* trained with 2 and 1: choose another"):
        evaluate("Pendulum-v1")
