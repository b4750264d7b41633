"""Domain randomisation: a model for each environment, drawn once and kept."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import State as BraxState
from helpers.envs import Counter, Heavy
from helpers.runs import make_config, make_experiment

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.envs.checked import adapt
from mjx_sac.training.compiled import epoch
from mjx_sac.training.compiled.evaluate import evaluate
from mjx_sac.training.host import train

ASKED = {"domain_randomization": "default"}
"""Environments of `Heavy` end after 3 steps and observe (mass, steps)."""


def run(epochs, **overrides):
    """The state after so many epochs of 4 environments, and all states of the way."""
    agent = make_experiment(adapt("heavy", Heavy(), make_config(**ASKED)), **overrides, **ASKED)
    state = jax.jit(functools.partial(epoch.init, agent))(jax.random.PRNGKey(0))
    step, states = jax.jit(functools.partial(epoch.epoch, agent)), []
    for _ in range(epochs):
        state, metrics = step(state)
        states.append((state, metrics))
    return agent, states


@pytest.fixture(scope="module")
def ran():
    return run(3, episode_length=3, reset_pool_size=8)


def test_each_environment_keeps_its_model_over_episodes(ran):
    _, states = ran
    masses = np.asarray(states[0][0].episodes.model["mass"])
    assert len(set(masses.tolist())) == 4
    assert ((masses > 1) & (masses < 2)).all()
    for state, metrics in states:
        np.testing.assert_array_equal(state.episodes.model["mass"], masses)
        assert metrics["rollout/episodes"] > 4
        # Every observation of an environment, the first of its episodes too, is of its own mass.
        rows, at = state.replay.observation, state.replay.row
        for i in range(4):
            n = int(state.replay.size[i])
            slots = (state.replay.next[i] - 1 - np.arange(n)) % len(at)
            assert set(np.asarray(rows[at[slots, i], i, 0]).tolist()) == {masses[i]}


def test_initial_states_are_used_once_by_the_environment_they_are_for(ran):
    _, states = ran
    for state, metrics in states:
        owner = np.arange(len(state.episodes.pool.inner["mass"])) % 4
        masses = np.asarray(state.episodes.model["mass"])
        np.testing.assert_array_equal(state.episodes.pool.inner["mass"], masses[owner])
        uses = state.episodes.pool_next  # 2 for each
        assert metrics["health/reset_pool_uses"] == np.max(uses) / 2


def test_models_come_from_the_runs_key_alone(ran):
    _, again = run(1, episode_length=3, reset_pool_size=8)
    masses = [x[0][0].episodes.model["mass"] for x in (ran[1], again)]
    np.testing.assert_array_equal(*masses)
    _, other = run(1, episode_length=5, reset_pool_size=4)
    np.testing.assert_array_equal(masses[0], other[0][0].episodes.model["mass"])


def test_evaluation_draws_models_of_its_own(ran):
    agent, states = ran
    state = states[-1][0]
    play = functools.partial(evaluate, agent, state.train.actor, state.normalizer, episodes=6)
    returns = play(jax.random.PRNGKey(1))["return"]
    assert len(set(returns.tolist())) == 6  # the reward is the mass
    assert ((returns > 3) & (returns < 6)).all()
    plain = make_experiment(adapt("heavy", Heavy()), episode_length=3)
    play = functools.partial(evaluate, plain, state.train.actor, state.normalizer, episodes=6)
    assert play(jax.random.PRNGKey(1))["return"].tolist() == [3.0] * 6


def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path):
    envs.register("heavy", Heavy)
    own = {"env": "heavy", "num_seeds": 2, "episode_length": 3, **ASKED}
    whole = train.train(make_config(**own, logdir=str(tmp_path / "a"))).state
    train.train(make_config(**{**own, "iterations": 64}, logdir=str(tmp_path / "b")))
    resumed = train.train(make_config(**own, logdir=str(tmp_path / "b"))).state
    for x, y in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(x, y)
    masses = whole.episodes.model["mass"]
    assert masses.shape == (2, 4)
    assert len(np.unique(masses)) == 8  # agents differ too


class Sys:
    """Brax's interface; `sys` is its model, and rewards are its mass times the action."""

    unwrapped = None
    action_size = 1
    observation_size = 1

    def __init__(self):
        self.sys = {"mass": jnp.ones(()), "size": jnp.ones(3)}

    def reset(self, key):
        return BraxState(None, self.sys["mass"][None], jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        return state.replace(obs=self.sys["mass"][None], reward=self.sys["mass"] * action[0])


def masses(model, keys):
    drawn = jax.vmap(lambda key: jax.random.uniform(key, minval=1.0, maxval=2.0))(keys)
    return {**model, "mass": drawn}, {"mass": 0, "size": None}


FUNCTIONS = types.ModuleType("randomizers")
FUNCTIONS.masses = masses
FUNCTIONS.fails = lambda model, keys: 1 / 0
FUNCTIONS.one = lambda model, keys: model
FUNCTIONS.nothing = lambda model, keys: (model, {"mass": None, "size": None})
FUNCTIONS.other = lambda model, keys: ({"mass": keys}, {"mass": 0})
FUNCTIONS.shape = lambda model, keys: ({**model, "mass": jnp.ones(7)}, {"mass": 0, "size": None})


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.setitem(sys.modules, "randomizers", FUNCTIONS)


def test_a_function_of_ones_own_as_braxs_training_takes_it(functions):
    own = Sys()
    env = BraxEnvironment(own, ("randomizers:masses", None))
    models = env.randomize(jax.random.split(jax.random.PRNGKey(0), 3))
    assert models.keys() == {"mass"}

    def play(key, model):
        state = env.reset(key, model)
        return state.observation[0], env.step(state, jnp.array([0.5]), model)[1].reward

    first, reward = jax.vmap(play)(jax.random.split(jax.random.PRNGKey(1), 3), models)
    np.testing.assert_array_equal(first, models["mass"])
    np.testing.assert_array_equal(reward, 0.5 * models["mass"])
    assert own.sys["mass"] == 1.0  # nothing was put into the environment itself


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("default", "has no randomisation of its own: give module:function"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("randomizers:g", "has no attribute 'g'"),
        ("randomizers:fails", "ZeroDivisionError"),
        ("randomizers:one", r"must be a function \(model, keys"),
        ("randomizers:nothing", "in_axes has no 0"),
        ("randomizers:other", "returns another model"),
        ("randomizers:shape", r"mass has shape \(7,\) for 2 keys: must be \(2,\)"),
    ],
)
def test_what_is_no_randomiser_is_one_line(functions, label, words):
    with pytest.raises(UsageError, match=f"domain_randomization = '{label}': .*{words}"):
        adapt("sys", Sys(), make_config(domain_randomization=label))


def test_an_environment_that_has_none_is_one_line():
    with pytest.raises(UsageError, match="has no method randomize: leave it out"):
        adapt("counter", Counter(), make_config(**ASKED))
