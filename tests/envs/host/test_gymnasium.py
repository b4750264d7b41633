"""What may be trained on: ids, factories, spaces; and the one line that refuses all else."""

import contextlib
import pathlib
import subprocess
import sys
import threading

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from helpers.envs import Counter
from helpers.gymnasium_envs import Walk

from mjx_sac import envs
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment

TESTS = pathlib.Path(__file__).parents[2]


def test_gymnasiums_logger_is_silent_while_we_ask_it_alone():
    code = """if True:
        import gymnasium
        from helpers.gymnasium_envs import Walk, walk
        before, levels, logger = gymnasium.logger.min_level, [], gymnasium.logger
        class Noting(Walk):
            def step(self, action):
                levels.append(gymnasium.logger.min_level)
                return super().step(action)
        import numpy as np
        simulator = walk(kind=Noting).simulator(1, 1000)
        simulator.reset(0)
        simulator.step(np.zeros((1, 1), np.float32))
        assert len(levels) == 2 and min(levels) > logger.ERROR
        assert logger.min_level == before
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=TESTS)


def test_the_first_one_is_not_waited_for_for_ever():
    class Stuck(Walk):
        def step(self, action):
            threading.Event().wait()

    config = Config(env_start_timeout=0.2)
    with pytest.raises(UsageError, match="no answer within env_start_timeout"):
        GymnasiumEnvironment("stuck", Stuck, config)


def with_spaces(observation=None, action=None):
    given = {
        "observation_space": observation or Walk.observation_space,
        "action_space": action or Walk.action_space,
        "_observation": lambda self: self.observation_space.sample(),
    }
    return type("Odd", (Walk,), given)


ODD = {
    "discrete actions": (
        with_spaces(action=spaces.Discrete(3)),
        ["actions are Discrete(3)", "Box with finite bounds"],
    ),
    "unbounded actions": (
        with_spaces(action=spaces.Box(-np.inf, np.inf, (2,))),
        ["actions are Box(-inf, inf", "finite bounds"],
    ),
    "discrete observations": (
        with_spaces(observation=spaces.Discrete(3)),
        ["observations are Discrete(3)", "must be Box"],
    ),
    "a discrete part": (
        with_spaces(observation=spaces.Dict(a=spaces.MultiBinary(3))),
        ["observations are MultiBinary(3)"],
    ),
    "images": (
        with_spaces(observation=spaces.Box(0, 255, (210, 160, 3))),
        ["100,800 numbers", "images"],
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_spaces_that_do_not_fit_are_refused_in_one_line(case):
    env, words = ODD[case]
    with pytest.raises(UsageError) as error:
        GymnasiumEnvironment("odd", env)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_spaces_are_described_for_json():
    part = spaces.Tuple((spaces.Box(-1, 1, (2, 2)), spaces.Box(-1, 1, ())))
    action = spaces.Box(np.array([[0.0], [-1.0]], np.float32), np.float32(4), dtype=np.float32)
    env = GymnasiumEnvironment("described", with_spaces(spaces.Dict(b=part, a=part), action))
    described = {"0": [2, 2], "1": []}
    assert env.spaces == {
        "observation": {"a": described, "b": described},
        "action": {"shape": [2, 1], "dtype": "float32", "low": [0.0, -1.0], "high": [4.0, 4.0]},
    }


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
def test_unknown_ids_are_refused_before_anything_is_made(name, words):
    with pytest.raises(UsageError) as error:
        envs.check(name)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPole-v1", ["Discrete(2)"]),
        ("LunarLanderContinuous-v3", ["Box2D is not installed", "pip install"]),
    ],
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
    env = envs.make("helpers.gymnasium_envs:Walk")
    assert (env.observation_size, env.action_size) == (2, 1)


class Ordinary(gymnasium.Env):
    """Has its spaces from `__init__`, as most have."""

    def __init__(self):
        self.observation_space, self.action_space = Walk.observation_space, Walk.action_space

    def reset(self, *, seed=None, options=None):
        return np.full(2, seed or 0, np.float32), {}

    def step(self, action):
        return np.zeros(2), 0.0, False, False, {}


def test_a_factory_whose_environments_make_their_own_spaces():
    envs.register("ordinary", Ordinary)
    assert envs.make("ordinary").simulator(2, 1000).reset(7).tolist() == [[7, 7], [8, 8]]


def test_a_module_that_fails_as_it_registers_gives_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("undefined_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="NameError: name 'undefined_name' is not defined"):
        envs.check("broken_module:Thing-v0")


@pytest.mark.parametrize(
    "action_space", [Walk.action_space, spaces.Discrete(2)], ids=["taken", "refused"]
)
def test_the_environment_that_shows_its_spaces_is_closed(action_space):
    closed, made = [], []
    kind = with_spaces(action=action_space)
    kind.close = lambda self: closed.append(self)
    envs.register("closes", lambda: made.append(kind()) or made[-1])
    with contextlib.suppress(UsageError):
        envs.make("closes")
    assert closed == made
    assert len(made) == 1


def test_a_factory_of_vector_environments_is_refused():
    envs.register("vector", lambda: SyncVectorEnv([Walk]))
    with pytest.raises(UsageError, match=r"^env = 'vector': returns a SyncVectorEnv"):
        envs.make("vector")


@pytest.mark.parametrize("example", [None, Walk()], ids=["the first too", "all but the first"])
def test_one_object_for_all_is_refused(example):
    one = Walk()
    env = GymnasiumEnvironment("one", lambda: one, example=example)
    with pytest.raises(UsageError, match=r"^env = 'one': returns one object again and again"):
        env.simulator(2, 1000).reset(0)


def test_old_gyms_spaces_are_called_that():
    old = type("Box", (), {"__module__": "gym.spaces.box"})
    with pytest.raises(UsageError, match=r"gym\.spaces\.box\.Box, of old Gym: import gymnasium"):
        GymnasiumEnvironment("old", with_spaces(action=old()))
    with pytest.raises(UsageError, match=r"a space is builtins\.tuple, none of Gymnasium: "):
        GymnasiumEnvironment("odd", with_spaces(action=(1,)))


@pytest.mark.parametrize("hand_over", [Walk, lambda: Walk(), lambda: gymnasium.make("Pendulum-v1")])
def test_a_script_hands_over_what_makes_environments(hand_over):
    env = envs.adapt(hand_over, Config(env="mine"))
    assert (env.name, env.action_size) == ("mine", 1)
    assert envs.adapt(env, Config()) is env


def test_a_script_that_hands_over_one_is_helped():
    with pytest.raises(
        UsageError, match=r"^env = TimeLimit: is one .*: env=lambda: gymnasium\.make"
    ):
        envs.adapt(gymnasium.make("Pendulum-v1"), Config())


def test_a_script_hands_over_jax_environments_either_way():
    for hand_over in (Counter, Counter(), lambda: Counter()):
        assert envs.adapt(hand_over, Config()).observation_size == 2


class Many(VectorEnv):
    """Steps many in its own way. Observation: the steps after which it ends an episode."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs, max_episode_steps=30):
        self.num_envs, self.limit = num_envs, max_episode_steps
        self.single_observation_space = Walk.observation_space
        self.single_action_space = Walk.action_space

    def reset(self, *, seed=None, options=None):
        return np.full((self.num_envs, 2), self.limit, np.float32), {}

    def step(self, action):
        zeros = np.zeros(self.num_envs)
        return np.zeros((self.num_envs, 2)), zeros, zeros, zeros, {}


class Stubborn(Many):
    def __init__(self, num_envs):
        super().__init__(num_envs)


@pytest.fixture(params=[Many, Stubborn])
def vector_only(request):
    name = f"{request.param.__name__}-v0"
    gymnasium.register(name, vector_entry_point=request.param)
    yield name
    del gymnasium.registry[name]


def test_a_vector_only_id_steps_in_its_own_way(vector_only):
    env = envs.make(vector_only)
    assert env.simulator(2, 1000).reset(0).tolist() == [[30, 30]] * 2
    with pytest.raises(UsageError, match=r"^action_repeat = 2: '.*-v0' steps all"):
        envs.make(f"gym/{vector_only}", Config(action_repeat=2))
    with pytest.raises(UsageError, match="exists as a vector environment alone"):
        env.showing(None, draw=True)


def test_a_vector_only_id_takes_the_time_limit_or_refuses_it(vector_only):
    config = Config(episode_length=7)
    if vector_only == "Stubborn-v0":
        with pytest.raises(UsageError, match=r"^episode_length = 7: 'Stubborn-v0' lets nobody"):
            envs.make(vector_only, config)
    else:
        assert envs.make(vector_only, config).simulator(2, 7).reset(0).tolist() == [[7, 7]] * 2
