"""`mjx-sac eval`: whole episodes with a trained policy, summed up."""

import json

import gymnasium
import numpy as np
import pytest
from helpers.cli import run
from helpers.envs import Counter

from mjx_sac import envs, load_policy
from mjx_sac.policy.evaluate import evaluate_policy


class Split(Counter):
    """Terminates after three steps if it started above 0.5, else the limit of five truncates."""

    def step(self, state, action):
        state, step = super().step(state, action)
        ends = (step.observation[0] > 0.5) & (step.observation[1] >= 3)
        return state, step._replace(terminated=ends)


class Noisy(gymnasium.Env):
    """Prints, gives 1 for every action within its bounds, and terminates after three steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(0, 10, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(2), {}

    def step(self, action):
        print("noise")
        self.steps += 1
        return np.zeros(2), float(0 <= action[0] <= 10), self.steps == 3, False, {}


class Breaking(Noisy):
    """Not in its first step, which is tried when it is made."""

    def step(self, action):
        if self.steps == 1:
            raise ZeroDivisionError("broke")
        return super().step(action)


def interrupted():
    raise KeyboardInterrupt


@pytest.fixture(autouse=True, scope="module")
def _more_environments():
    envs.register("split", Split)
    envs.register("noisy", Noisy)
    envs.register("breaking", Breaking)
    envs.register("interrupted", interrupted)
    envs.register("wide", type("Wide", (Counter,), {"action_size": 3}))


def test_whole_episodes_are_summed_up(capsys, saved):
    """Five steps of rewards 0 to 4, whatever the policy does."""
    code, out, _ = run(capsys, "eval", saved, "--episodes", "3")
    assert code == 0
    assert f"{saved} at 32 iterations: 3 episodes of counter, deterministic actions" in out
    assert "mean 10.0  std 0.0  median 10.0  from 10.0 to 10.0" in out
    assert "IQM 10.0  95 % interval 10.0 to 10.0" in out
    assert "0% terminated, 100% truncated" in out


def test_success_is_said(capsys, saved):
    """After three steps of `Talking`, which has two numbers to observe as `Counter` has."""
    flags = ("--env", "helpers.gymnasium_envs:Talking", "--episodes", "2")
    code, out, _ = run(capsys, "eval", saved, *flags)
    assert code == 0
    assert "100% truncated, 100% with success" in out


def test_another_environment_prints_json_only(capsys, saved):
    """More episodes than are played at once; length and return depend on how an episode ends."""
    flags = ("--env", "split", "--episodes", "150", "--json", "--stochastic")
    code, out, _ = run(capsys, "eval", saved, *flags)
    result = json.loads(out)
    assert code == 0
    assert result["run"] == str(saved)
    assert (result["env"], result["episodes"], result["iterations"]) == ("split", 150, 32)
    assert result["deterministic"] is False
    assert sorted(set(result["returns"])) == [0 + 1 + 2, 0 + 1 + 2 + 3 + 4]
    share = result["returns"].count(3) / 150
    assert 0.3 < share < 0.7
    assert result["terminated"] == pytest.approx(share)
    assert result["truncated"] == pytest.approx(1 - share)
    assert result["length"]["mean"] == pytest.approx(5 - 2 * share)


def test_another_environment_may_have_options(capsys, saved):
    flags = ("--env", "helpers.envs:Counter", "--env_option", "ends_at=3", "--json")
    code, out, _ = run(capsys, "eval", saved, *flags)
    result = json.loads(out)
    assert (code, result["length"]["max"], result["terminated"]) == (0, 3, 1.0)


def test_what_an_environment_prints_is_not_in_the_json(capsys, saved):
    code, out, err = run(capsys, "eval", saved, "--env", "noisy", "--episodes", "18", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["returns"], result["terminated"]) == ([3.0] * 18, 1.0)
    assert result["length"]["max"] == 3
    assert "noise" in err


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--env", "atn", "mean ant?"),
        ("--env", "wide", "trained with 2 and 1"),
        ("--backend", "x", "backend = 'x'"),
        ("--step", "64", "there are 32"),
        ("--seed_index", "1", "holds one agent"),
        ("--env_option", "size", "write key=value"),
    ],
)
def test_bad_input_is_refused(capsys, saved, flag, value, words):
    code, _, err = run(capsys, "eval", saved, flag, value)
    assert (code, err.count("mjx-sac: ")) == (2, 1)
    assert words in err


@pytest.mark.parametrize(
    ("env", "code", "words"), [("breaking", 3, "broke"), ("interrupted", 130, "interrupted")]
)
def test_failure_exits_3_and_interruption_130(capsys, saved, env, code, words):
    got, _, err = run(capsys, "eval", saved, "--env", env)
    assert got == code
    assert words in err.strip().splitlines()[-1]


def test_each_episode_counts_once_with_how_it_ended(saved):
    played = evaluate_policy(load_policy(saved), env="split", episodes=40)
    np.testing.assert_array_equal(played["terminated"], played["length"] == 3)
    np.testing.assert_array_equal(played["truncated"], played["length"] == 5)
