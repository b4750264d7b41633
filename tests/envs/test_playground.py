"""Playground's environments: their options, their robots' files, and what all share on MJX-Warp."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import State as BraxState
from helpers.runs import make_config
from jax.interpreters import batching

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.checked import CheckedEnvironment
from mjx_sac.envs.episodes import Episodes
from mjx_sac.envs.playground import MENAGERIE, make
from mjx_sac.envs.warp import WarpEnvironment
from mjx_sac.training.host import train


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Data:
    """As MJX-Warp has it: `contacts` is of all environments, and `vmap` leaves it as it is."""

    position: jax.Array
    contacts: jax.Array


batching.register_vmappable(
    Data,
    int,
    int,
    lambda cont, _, data, axis: Data(cont(data.position, axis), data.contacts),
    lambda cont, size, data, axis: Data(cont(size, data.position, axis), data.contacts),
    None,
)


class Climb:
    action_size = 1

    def reset(self, key):
        return BraxState(None, jnp.zeros(1), jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        return state


class Shared:
    """Moves by the action; its contacts are five zeros that a step must be given."""

    action_size = 1

    def reset(self, key):
        data = Data(jax.random.uniform(key, (2,)), jnp.zeros(5))
        return BraxState(data, data.position, jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        data = state.pipeline_state
        assert data.contacts.shape == (5,)
        data = Data(data.position + action + jnp.sum(data.contacts), data.contacts + 1)
        return state.replace(pipeline_state=data, obs=data.position, reward=data.position[0])


def test_what_environments_share_is_no_part_of_their_states():
    env = CheckedEnvironment("shared", WarpEnvironment(Shared()), trusted=True)
    episodes = Episodes(env, num_envs=3, episode_length=2, pool_size=7)
    state = episodes.refill(episodes.init(), jax.random.PRNGKey(0))
    assert [x.shape for x in jax.tree.leaves(state.pool.inner.pipeline_state)] == [(7, 2)]
    starts = np.asarray(state.pool.observation)
    step = jax.jit(lambda state: episodes.step(episodes.start(state), jnp.full((3, 1), 0.5)))
    # Steps of the episode, and the initial state with which the first environment's began.
    for steps, first in ((1, 0), (2, 0), (1, 3)):
        state, outcome = step(state)
        expected = starts[first : first + 3] + 0.5 * steps
        np.testing.assert_allclose(outcome.step.observation, expected, rtol=1e-6)


def test_an_ordinary_adapter_would_give_each_all_contacts():
    """Or the test above would show nothing."""
    shape = jax.eval_shape(
        jax.vmap(BraxEnvironment(Shared()).reset), jax.ShapeDtypeStruct((7, 2), jnp.uint32)
    )
    assert [x.shape for x in jax.tree.leaves(shape.inner.pipeline_state)] == [(7, 2), (5,)]


@pytest.mark.parametrize("name", ["ant", "Ant-v5", "helpers.envs:Counter"])
def test_environments_that_have_no_choice_refuse_it(name):
    with pytest.raises(UsageError, match=f"impl = 'warp': env = '{name}' has no choice of it"):
        envs.check(name, "warp")


@pytest.mark.parametrize(
    "ask",
    [lambda name: envs.check(name, "warp"), lambda name: envs.make(name, make_config(impl="warp"))],
    ids=["train", "eval of a run from elsewhere"],
)
def test_without_warp_it_is_refused_before_it_is_built(monkeypatch, ask):
    installed = {"warp": None}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: installed.get(name, name))
    problem = r"impl = 'warp': needs NVIDIA Warp: install mjx-sac\[playground\]"
    with pytest.raises(UsageError, match=problem):
        ask("playground/CartpoleBalance")


@pytest.fixture
def menagerie(monkeypatch, tmp_path):
    """Playground looks for robots in this empty directory, and `git` is one that fails."""
    mjx_env = pytest.importorskip("mujoco_playground._src.mjx_env")
    (tmp_path / "git").write_text("#!/bin/sh\nexit 128\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(MENAGERIE, raising=False)
    usual = type(mjx_env.MENAGERIE_PATH)(tmp_path / "usual")
    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", usual)
    yield tmp_path / "usual"
    assert mjx_env.MENAGERIE_PATH is usual


def test_missing_files_of_a_robot_are_one_line(menagerie, monkeypatch, capsys):
    problem = "env = 'playground/H1JoystickGaitTracking': no files of its robot in"
    for name, words in ((None, "'clone'"), ("none", "no such directory"), ("", "opening file")):
        directory = menagerie if name is None else menagerie.parent / name
        if name is not None:
            monkeypatch.setenv(MENAGERIE, str(directory))
        with pytest.raises(UsageError) as error:
            make("H1JoystickGaitTracking", "jax")
        assert f"{problem} {directory} (" in str(error.value)
        assert words in str(error.value)
        assert "put a clone of" in str(error.value)
    assert capsys.readouterr().out == "", "what a command writes to stdout may be JSON"


def test_options_change_the_configuration(menagerie):
    """What needs no robot is left alone."""
    env = make("CartpoleBalance", "jax", {"ctrl_dt": 0.02, "episode_length": 50})
    assert (env.env.dt, env.env.n_substeps, env.time_limit) == (0.02, 2, 50)
    assert env.env_config["ctrl_dt"] == 0.02
    assert env.env_config["impl"] == "jax"
    assert json.loads(json.dumps(env.env_config)) == env.env_config
    assert make("CartpoleBalance", "jax").time_limit == 1000


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("CartpoleBalance", {"ctrl_td": 0.02}, "has no such option; did you mean ctrl_dt?"),
        ("CartpoleBalance", {"ctrl_dt": "fast"}, "'ctrl_dt': 'fast': give a number, such as 0.01"),
        ("CartpoleBalance", {"impl": "warp"}, "playground/CartpoleBalance takes it from --impl"),
        ("CheetahRun", {"vision": True}, "with vision=True: NotImplementedError"),
        ("Go1Getup", {"reward_config.scales.torque": 1}, "did you mean reward_config.scales.torq"),
        ("Go1Getup", {"noise_config": 1}, "give one of its values: noise_config.level, noise"),
    ],
)
def test_other_options_are_one_line(menagerie, name, given, words):
    with pytest.raises(UsageError) as error:
        make(name, "jax", given)
    assert str(error.value).startswith("env_option")
    assert words in str(error.value)


def test_a_step_that_options_break_is_found_before_compiling(menagerie):
    with pytest.raises(UsageError, match=r"CartpoleBalance.*step: .*ZeroDivisionError"):
        envs.make(
            name := "playground/CartpoleBalance", make_config(env=name, env_options={"sim_dt": 0})
        )


@pytest.mark.slow
def test_both_implementations_move_alike_and_train(tmp_path):
    pytest.importorskip("mujoco_playground")
    name, actions = "playground/CartpoleBalance", jnp.array([[1.0], [-1.0], [0.3]])
    ends = {}
    for impl in ("jax", "warp"):
        env = envs.make(name, make_config(impl=impl))
        state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), 3))
        for _ in range(20):
            state, step = jax.jit(jax.vmap(env.step))(state, actions)
        ends[impl] = np.asarray(step.observation)
    np.testing.assert_allclose(ends["warp"], ends["jax"], rtol=1e-3, atol=1e-4)

    sizes = {
        "env": name,
        "impl": "warp",
        "num_envs": 2,
        "episode_length": 20,
        "episodes_per_eval": 1,
        "reset_pool_size": 4,
    }
    run = train.train(make_config(**sizes, iterations=96, logdir=str(tmp_path)))
    assert int(run.metrics["train/n_updates"]) == 64
    assert np.isfinite(run.metrics["eval/mean_reward"])
