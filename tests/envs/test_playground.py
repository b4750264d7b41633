"""Playground's environments on MJX-Warp: what all share is no part of one environment's state.

The real one needs Playground.
"""

import dataclasses
import subprocess
import sys
import types

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
from mjx_sac.envs.playground import MENAGERIE, WarpEnvironment, make
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
def playground(monkeypatch):
    """Stands for Playground: `Robot` needs a file, which it clones; `Cart` needs none."""
    from etils import epath

    def load(name, config_overrides):
        if name == "Robot" and not (robots := mjx_env.MENAGERIE_PATH).exists():
            print("Downloading...")
            raise subprocess.CalledProcessError(128, ["git", "clone"])
        if name == "Robot" and not (robots / "robot.stl").exists():
            raise ValueError("Error: Error opening file 'robot.stl'")
        return Climb()

    mjx_env = types.SimpleNamespace(MENAGERIE_PATH=epath.Path("/site/mujoco_menagerie"))
    registry = types.SimpleNamespace(
        ALL_ENVS=("Cart", "Robot"),
        dm_control_suite=types.SimpleNamespace(ALL_ENVS=("Cart",)),
        get_default_config=lambda name: {},
        load=load,
    )
    package = types.SimpleNamespace(registry=registry)
    monkeypatch.setitem(sys.modules, "mujoco_playground", package)
    monkeypatch.setitem(
        sys.modules, "mujoco_playground._src", types.SimpleNamespace(mjx_env=mjx_env)
    )
    return mjx_env


def test_missing_files_of_a_robot_are_one_line(playground, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(MENAGERIE, raising=False)
    with pytest.raises(UsageError, match=r"in /site/mujoco_menagerie .*'clone'.*: put a clone"):
        make("Robot", "jax")
    assert capsys.readouterr().out == "", "what a command writes to stdout may be JSON"
    for directory, words in ((tmp_path / "none", "no such directory"), (tmp_path, "opening file")):
        monkeypatch.setenv(MENAGERIE, str(directory))
        with pytest.raises(UsageError, match=f"in {directory} .*{words}.*: put a clone of"):
            make("Robot", "jax")
    assert make("Cart", "jax").observation_size == 1, "what needs no robot is left alone"
    (tmp_path / "robot.stl").touch()
    assert make("Robot", "jax").observation_size == 1
    assert str(playground.MENAGERIE_PATH) == "/site/mujoco_menagerie"


def test_playgrounds_own_lookup_is_understood(monkeypatch, tmp_path):
    """And its configurations' time limits."""
    registry = pytest.importorskip("mujoco_playground").registry
    monkeypatch.setenv(MENAGERIE, str(tmp_path))
    for name in (registry.locomotion.ALL_ENVS[0], registry.manipulation.ALL_ENVS[0]):
        with pytest.raises(UsageError, match=f"no files of its robot in {tmp_path} "):
            make(name, "jax")
    assert make("CartpoleBalance", "jax").time_limit == 1000


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
