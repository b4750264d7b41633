"""Gymnasium's environments: one form for every autoreset mode, spaces, runs, and everything that can go wrong on the host."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import gymnasium
import jax
import numpy as np
import pytest
from conftest import make_config
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mjx_sac import api, envs, rundir
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.envs.gymnasium import GymnasiumEnvironment, VectorSimulator
from mjx_sac.envs.host import HostEpisodes

HERE = pathlib.Path(__file__).parent


class Walk(gymnasium.Env):
    """Counts: observation (episode, steps), reward the steps before; ends at `ends_at`, is cut at `cut_at`, `fault` at step 3."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(np.array([-2.0], np.float32), np.array([4.0], np.float32))

    def __init__(self, ends_at=1000, cut_at=1000, fault=None, on=1):
        self.ends_at, self.cut_at, self.fault, self.on = ends_at, cut_at, fault, on
        self.episode, self.total, self.actions = -1, 0, []

    def _observation(self):
        return np.array([self.episode, self.count], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action):
        self.count, self.total = self.count + 1, self.total + 1
        self.actions.append(action)
        observation, reward = self._observation(), float(self.count - 1)
        if self.fault and self.total == 60:
            observation, reward = self.fault(observation, reward)
        return observation, reward, self.count >= self.ends_at, self.count >= self.cut_at, {}


def boom(observation, reward):
    raise ZeroDivisionError("boom")


def hang(observation, reward):
    time.sleep(1000)


FAULTS = {
    "raises": (boom, "environment 0, at its step 60, raised ZeroDivisionError: boom"),
    "hangs": (hang, "no answer within env_timeout = 3 seconds"),
    "shape": (lambda o, r: (o[:1], r), "environment 0, at its step 60, returned 1 numbers, its observation space has 2"),
    "type": (lambda o, r: ("left", r), "environment 0, at its step 60, returned an observation that does not fit"),
    "reward": (lambda o, r: (o, None), "environment 0, at its step 60,"),
}
"""What an environment does wrong, and what the user is told."""


def walk(**kwargs):
    return GymnasiumEnvironment("walk", lambda: Walk(**kwargs))


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
            if answer.stepped[i]:
                flags = "T" * int(answer.terminated[i]) + "C" * int(answer.truncated[i])
                rows[i].append((*current[i], *answer.observation[i], answer.reward[i], flags))
        current = answer.current
    first = [(0, 0, 0, 1, 0, ""), (0, 1, 0, 2, 1, "T"), (1, 0, 1, 1, 0, ""), (1, 1, 1, 2, 1, "T"), (2, 0, 2, 1, 0, "")]
    second = [(0, 0, 0, 1, 0, ""), (0, 1, 0, 2, 1, ""), (0, 2, 0, 3, 2, "C"), (1, 0, 1, 1, 0, ""), (1, 1, 1, 2, 1, "")]
    assert rows[0][:5] == first
    assert rows[1][:5] == second
    assert len(rows[0]) == (6 if mode is AutoresetMode.NEXT_STEP else 8), "next-step autoreset spends steps on resets"


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


def test_an_action_is_held_for_action_repeat_steps_or_until_the_episode_ends():
    simulator = GymnasiumEnvironment("walk", lambda: Walk(ends_at=5), action_repeat=3).simulator(1, 1000)
    simulator.reset(0)
    answers = [simulator.step(np.zeros((1, 1), np.float32)) for _ in range(2)]
    assert [float(a.reward[0]) for a in answers] == [0 + 1 + 2, 3 + 4]
    assert bool(answers[1].terminated[0])


def test_a_value_that_is_not_finite_ends_that_episode_alone():
    env = [Walk(), Walk(fault=lambda o, r: (o * np.nan, r))]
    env[1].total = 58
    simulator = VectorSimulator(SyncVectorEnv([lambda: env[0], lambda: env[1]], autoreset_mode=AutoresetMode.DISABLED), 1000, 1)
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
    answers = [simulator.step(np.full((1, 1), np.nan if step == 2 else 0.0, np.float32)) for step in range(4)]
    finite = [True, False, mode is AutoresetMode.DISABLED, True]
    assert [bool(a.finite[0]) for a in answers] == finite
    assert all(a.stepped[0] for a in answers)
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
    ("asked", "own", "limit"), [(None, 1600, 1600), (None, None, 1000), (50, 1600, 50), (2000, 1600, 1600), (50, None, 50)]
)
def test_the_time_limit_is_the_environments_own_unless_a_shorter_one_is_asked_for(asked, own, limit):
    env = walk()
    env.time_limit = own
    assert HostEpisodes(env, 1, asked, 1, 60.0).episode_length == limit


def test_no_warm_up_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"warm_up_steps = 0: .* raise it to 2"):
        api.train(make_config(**RUN, warm_up_steps=0, logdir=str(tmp_path)), env=walk())


class Parts(Walk):
    observation_space = spaces.Dict(
        {
            "b": spaces.Tuple((spaces.Box(-1, 1, (2, 2)), spaces.Box(-1, 1, ()))),
            "a": spaces.Box(0, 255, (1,), np.uint8),
        }
    )

    def _observation(self):
        return {"a": np.array([7], np.uint8), "b": (np.arange(4, dtype=np.float32).reshape(2, 2), np.float32(9))}


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP])
def test_dictionaries_and_tuples_are_flattened_in_the_spaces_order(mode):
    env = GymnasiumEnvironment("parts", Parts)
    assert env.observation_size == 6
    vector = SyncVectorEnv([lambda: Parts(ends_at=1)] * 2, autoreset_mode=mode)
    simulator = VectorSimulator(vector, 1000, 1)
    assert simulator.reset(0).tolist() == [[7, 0, 1, 2, 3, 9]] * 2
    assert simulator.step(np.zeros((2, 1), np.float32)).observation.tolist() == [[7, 0, 1, 2, 3, 9]] * 2


def with_spaces(observation=None, action=None):
    return type(
        "Odd", (Walk,), {"observation_space": observation or Walk.observation_space, "action_space": action or Walk.action_space}
    )


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (with_spaces(action=spaces.Discrete(3)), ["actions are Discrete(3)", "Box with finite bounds"]),
        (with_spaces(action=spaces.Box(-np.inf, np.inf, (2,))), ["actions are Box(-inf, inf", "finite bounds"]),
        (with_spaces(observation=spaces.Discrete(3)), ["observations are Discrete(3)", "must be Box"]),
        (with_spaces(observation=spaces.Dict(a=spaces.MultiBinary(3))), ["observations are MultiBinary(3)"]),
        (with_spaces(observation=spaces.Box(0, 255, (210, 160, 3))), ["100,800 numbers", "images"]),
    ],
)
def test_spaces_that_cannot_be_learned_on_are_refused_in_one_line(env, words):
    with pytest.raises(UsageError) as error:
        GymnasiumEnvironment("odd", env)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Ant-v2", ["Ant-v2' is retired", "--env ant", "--env Ant-v5"]),
        ("Antt-v5", ["Antt", "Did you mean: `Ant`"]),
        ("Ant-v9", ["`v9`", "`v5`"]),
        ("gym/Nothing", ["`Nothing` doesn't exist"]),
        ("no_such_module:Thing-v0", ["no module named 'no_such_module'"]),
    ],
)
def test_names_that_gymnasium_does_not_know_are_refused_before_anything_is_made(name, words):
    with pytest.raises(UsageError) as error:
        envs.check(name)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"), [("CartPole-v1", ["Discrete(2)"]), ("LunarLanderContinuous-v3", ["Box2D is not installed", "pip install"])]
)
def test_what_cannot_be_made_says_why(name, words):
    with pytest.raises(UsageError) as error:
        envs.make(name)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("name", ["Pendulum-v1", "gym/Pendulum-v1", "gymnasium:Pendulum-v1"])
def test_a_gymnasium_id_is_an_environment(name):
    env = envs.make(name)
    assert (env.observation_size, env.action_size, env.time_limit) == (3, 1, 200)


def test_a_factory_may_give_a_gymnasium_environment():
    env = envs.make("test_gymnasium:Walk")
    assert (env.observation_size, env.action_size) == (2, 1)


class Ordinary(gymnasium.Env):
    """Has its spaces from `__init__`, as most have."""

    def __init__(self):
        self.observation_space, self.action_space = Walk.observation_space, spaces.Box(-100, 100, (1,), np.int8)
        self.actions = []

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.actions.append(int(action[0]))
        return np.zeros(2, np.float32), 0.0, False, False, {}


def test_a_factory_of_an_environment_with_spaces_of_its_own_and_narrow_actions():
    made = []
    envs.register("ordinary", lambda: made.append(Ordinary()) or made[-1])
    simulator = envs.make("ordinary").simulator(1, 1000)
    simulator.reset(0)
    for action in (-1.0, 0.0, 1.0):
        simulator.step(np.array([[action]], np.float32))
    assert made[-1].actions == [-100, 0, 100]


def test_a_module_that_fails_while_it_registers_is_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("undefined_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="NameError: name 'undefined_name' is not defined"):
        envs.check("broken_module:Thing-v0")


RUN = {"env": "walk", "num_envs": 2, "iterations": 128, "episode_length": 5, "batch_size": 8, "buffer_size": 64}


@pytest.mark.smoke
def test_a_run_bootstraps_at_time_limits_from_true_observations(tmp_path):
    result = api.train(make_config(**RUN, logdir=str(tmp_path)), env=walk(cut_at=5))
    replay = jax.tree.map(np.asarray, result.state.replay)
    assert not replay.terminated.any()
    assert result.metrics["rollout/ep_len_mean"] == 5
    assert result.metrics["rollout/ep_rew_mean"] == 0 + 1 + 2 + 3 + 4
    assert result.metrics["eval/mean_reward"] == 10
    assert result.metrics["eval/mean_ep_length"] == 5
    assert result.metrics["train/n_updates"] == 96
    slots, rows = replay.row.shape[0], replay.observation.shape[0]
    for i in range(2):
        for back in range(replay.size[i]):
            slot = (replay.next[i] - 1 - back) % slots
            first, then = replay.observation[replay.row[slot, i], i], replay.observation[(replay.row[slot, i] + 1) % rows, i]
            assert then.tolist() == [first[0], first[1] + 1], "the next observation is of the same episode"
            assert replay.reward[slot, i] == first[1]


def test_going_on_starts_new_episodes_and_loses_nothing_else(tmp_path, capsys):
    first = api.train(make_config(**{**RUN, "iterations": 64}, logdir=str(tmp_path)), env=walk())
    assert not np.asarray(first.state.episodes.ended).all()
    second = api.train(make_config(**{**RUN, "iterations": 96}, logdir=str(tmp_path)), env=walk())
    assert "the simulator starts new episodes" in capsys.readouterr().out
    assert second.metrics["train/n_updates"] == 64
    np.testing.assert_array_equal(second.state.normalizer.count, 96)
    slots = second.state.replay.row.shape[0]
    newest = [
        np.asarray(second.state.replay.observation)[second.state.replay.row[(second.state.replay.next[i] - 16) % slots, i], i]
        for i in range(2)
    ]
    assert [o.tolist() for o in newest] == [[0, 0], [0, 0]], "the first transition of the second process begins an episode"


def test_two_runs_with_one_seed_are_equal(tmp_path):
    config = {"env": "Pendulum-v1", "num_envs": 2, "iterations": 64, "warm_up_steps": 32}
    one, two = (api.train(make_config(**config, logdir=str(tmp_path / name))) for name in "ab")
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(two.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_environment_that_fails_ends_the_run_with_one_line_and_keeps_checkpoints(tmp_path, fault, capfd):
    function, told = FAULTS[fault]
    config = make_config(**RUN, logdir=str(tmp_path), env_timeout=3.0, episodes_per_eval=0)
    with pytest.raises(TrainingError) as error:
        api.train(config, env=walk(fault=function))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert rundir.steps(tmp_path) == [32, 64, 96]
    assert "Traceback" not in capfd.readouterr().err


def test_an_environment_with_a_nan_is_reset_and_counted(tmp_path):
    config = make_config(**RUN, logdir=str(tmp_path), episodes_per_eval=0)
    result = api.train(config, env=walk(fault=lambda o, r: (o, float("nan"))))
    assert result.metrics["health/nonfinite_steps"] == 2, "once in each environment, in the last epoch"
    assert np.isfinite(result.state.replay.reward).all()


def workers(parent):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    return [int(pid) for pid in out.split()]


def alive(pid):
    try:
        return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_async_workers_train_and_never_outlive_the_trainer(tmp_path, number):
    """A real process, killed without a chance to tidy up, or by a Ctrl-C, which a terminal sends to its workers as well."""
    flags = ["--num_envs=2", "--batch_size=8", "--buffer_size=64", "--hidden_sizes=8", "--warm_up_steps=32", "--log_interval=32"]
    flags += ["--checkpoint_interval=32", "--episodes_per_eval=0", "--vectorization=async", f"--logdir={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "mjx_sac", "train", "--env=test_gymnasium:Walk", *flags, "--iterations=100_000_000"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=HERE, start_new_session=True, **pipes)
    deadline = time.monotonic() + 240
    while max(rundir.steps(tmp_path / "run"), default=0) < 64:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = workers(process.pid)
    assert len(children) >= 2
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    _, err = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "mjx-sac: interrupted; the same command goes on from the newest checkpoint\n"
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.1)


@pytest.mark.slow
def test_an_async_worker_that_hangs_is_ended(tmp_path, capfd):
    env = GymnasiumEnvironment("walk", Hanging, vectorization="async")
    config = make_config(**RUN, logdir=str(tmp_path), env_timeout=10.0, episodes_per_eval=0)
    with pytest.raises(TrainingError, match="no answer within env_timeout = 10 seconds"):
        api.train(config, env=env)
    assert rundir.steps(tmp_path) == [32, 64, 96]
    assert "Traceback" not in capfd.readouterr().err


class Hanging(Walk):
    def __init__(self):
        super().__init__(fault=hang)
