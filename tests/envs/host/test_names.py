"""What may be trained on: ids, factories, spaces; and the line that refuses all else."""

import contextlib

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from helpers.gymnasium_envs import Walk

from mjx_sac import envs
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment


def with_spaces(observation=None, action=None):
    return type(
        "Odd",
        (Walk,),
        {
            "observation_space": observation or Walk.observation_space,
            "action_space": action or Walk.action_space,
        },
    )


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            with_spaces(action=spaces.Discrete(3)),
            ["actions are Discrete(3)", "Box with finite bounds"],
        ),
        (
            with_spaces(action=spaces.Box(-np.inf, np.inf, (2,))),
            ["actions are Box(-inf, inf", "finite bounds"],
        ),
        (
            with_spaces(observation=spaces.Discrete(3)),
            ["observations are Discrete(3)", "must be Box"],
        ),
        (
            with_spaces(observation=spaces.Dict(a=spaces.MultiBinary(3))),
            ["observations are MultiBinary(3)"],
        ),
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
        self.observation_space, self.action_space = (
            Walk.observation_space,
            spaces.Box(-100, 100, (1,), np.int8),
        )
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


@pytest.mark.parametrize(
    "action_space", [Walk.action_space, spaces.Discrete(2)], ids=["taken", "refused"]
)
def test_the_environment_that_shows_its_spaces_is_closed(action_space):
    closed = []
    kind = with_spaces(action=action_space)
    kind.close = lambda self: closed.append(self)
    made = []
    envs.register("closes", lambda: made.append(kind()) or made[-1])
    with contextlib.suppress(UsageError):
        envs.make("closes")
    assert closed == made
    assert len(made) == 1


def test_a_factory_of_vector_environments_is_refused():
    envs.register("vector", lambda: SyncVectorEnv([Walk]))
    with pytest.raises(
        UsageError, match=r"^env = 'vector': returns a VectorEnv: return one gymnasium.Env"
    ):
        envs.make("vector")


class Many(VectorEnv):
    """Has its own way to step many. Observation: the steps it ends an episode after."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs, max_episode_steps=30):
        self.num_envs, self.limit = num_envs, max_episode_steps
        self.single_observation_space, self.single_action_space = (
            Walk.observation_space,
            Walk.action_space,
        )

    def reset(self, *, seed=None, options=None):
        return np.full((self.num_envs, 2), self.limit, np.float32), {}


class Stubborn(Many):
    def __init__(self, num_envs):
        super().__init__(num_envs)


@pytest.fixture(params=[Many, Stubborn])
def vector_only(request):
    name = f"{request.param.__name__}-v0"
    gymnasium.register(name, vector_entry_point=request.param)
    yield name
    del gymnasium.registry[name]


def test_an_id_that_has_only_a_vector_entry_point_steps_as_it_does(vector_only):
    assert envs.make(vector_only).simulator(2, 1000).reset(0).tolist() == [[30, 30]] * 2
    with pytest.raises(
        UsageError, match=r"^action_repeat = 2: '.*-v0' steps all its environments at once"
    ):
        envs.make(f"gym/{vector_only}", Config(action_repeat=2))


def test_an_id_that_has_only_a_vector_entry_point_is_told_the_time_limit_or_refuses_it(vector_only):
    config = Config(episode_length=7)
    if vector_only == "Stubborn-v0":
        with pytest.raises(
            UsageError, match=r"^episode_length = 7: 'Stubborn-v0' lets nobody set its time limit"
        ):
            envs.make(vector_only, config)
    else:
        assert envs.make(vector_only, config).simulator(2, 7).reset(0).tolist() == [[7, 7]] * 2
