"""What networks see with `--history`, against episodes kept whole in lists."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.datasets import episode, recorded
from helpers.envs import Counter
from helpers.runs import make_experiment
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.config import UsageError
from mjx_sac.envs.views import Views
from mjx_sac.training.compiled import epoch, evaluate, history, population, replay
from mjx_sac.types import Step

GAMMA = 0.5
insert = jax.jit(replay.insert, static_argnums=6)
look_up = jax.jit(replay.look_up, static_argnums=(3, 4))


class Episode:
    """Observations, of which there is one more than actions and rewards, all of them numbers."""

    def __init__(self, first):
        self.observations, self.actions, self.rewards, self.terminated = [first], [], [], False

    def seen(self, at, history):
        """The newest observation, then actions and observations before it; padded at the start."""
        numbers = [self.observations[at], -self.observations[at]]
        for back in range(1, history):
            there = at - back >= 0
            earlier = self.observations[max(at - back, 0)]
            numbers += [self.actions[at - back] if there else 0, earlier, -earlier]
        return numbers

    def transition(self, at, history, n_step):
        """The row of a batch for the transition `at`, as many steps long as the episode has."""
        length = min(n_step, len(self.rewards) - at)
        ends = self.terminated and at + length == len(self.rewards)
        reward = sum(GAMMA**i * self.rewards[at + i] for i in range(length))
        row = [*self.seen(at, history), self.actions[at], reward, 0 if ends else GAMMA**length]
        return [*row, *self.seen(at + length, history)]


class World:
    """Environments whose every number is used once, and a replay buffer that sees them."""

    def __init__(self, slots, num_envs, episode_length, history):
        self.state = replay.init(slots * num_envs, num_envs, 2, 1, episode_length)
        self.history, self.counter = history, 0
        self.episodes = [[] for _ in range(num_envs)]
        self.started = np.ones(num_envs, bool)

    def fresh(self):
        self.counter += 1
        return self.counter

    def step(self, marks):
        """One step of each: `.` continues, `t` terminates, `T` truncates, `x` is not finite."""
        rows = []
        for env, mark in enumerate(marks):
            if self.started[env]:
                self.episodes[env].append(Episode(self.fresh()))
            episode = self.episodes[env][-1]
            row = episode.observations[-1], self.fresh(), self.fresh(), self.fresh()
            if mark != "x":
                episode.actions.append(row[1])
                episode.rewards.append(row[2])
                episode.observations.append(row[3])
                episode.terminated = mark == "t"
            rows.append(row)
        observation, action, reward, following = np.float32(rows).T
        marks = np.array(list(marks))
        valid = marks != "x"
        pair = lambda x: np.where(valid, [x, -x], np.nan).T  # noqa: E731
        step = Step(pair(following), reward, marks == "t", marks == "T")
        acted = np.stack([observation, -observation], axis=1), action[:, None]
        self.state = insert(self.state, *acted, step, self.started, valid, self.history)
        self.started = marks != "."

    def expected(self, n_step):
        """The rows that can be drawn, in the order of `look_up`: of each environment its newest."""
        rows = []
        for env, size in enumerate(np.asarray(self.state.size)):
            every = [(e, at) for e in self.episodes[env] for at in range(len(e.rewards))]
            rows += [e.transition(at, self.history, n_step) for e, at in every[::-1][:size]]
        return np.float32(rows)

    def drawn(self, n_step):
        draw = jnp.arange(int(jnp.sum(self.state.size)))
        batch = look_up(self.state, draw, GAMMA, n_step, self.history)
        return np.concatenate([np.asarray(x).reshape(len(draw), -1) for x in batch], axis=1)


@pytest.mark.smoke
@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    num_envs=st.sampled_from([1, 3]),
    history=st.integers(1, 4),
    n_step=st.sampled_from([1, 3]),
    often=st.sampled_from(["....tTx", ".........................tTx", "tTx."]),
)
def test_every_row_has_its_own_episodes_history(data, num_envs, history, n_step, often):
    """Any pattern of ends and invalid steps, round an eight-row ring several times."""
    world = World(8, num_envs, 4, history)
    columns = st.text(often, min_size=num_envs, max_size=num_envs)
    for i in range(data.draw(st.integers(1, 60))):
        before = np.asarray(world.state.size)
        marks = data.draw(columns)
        world.step(marks)
        written = [sum(len(e.rewards) for e in episodes) for episodes in world.episodes]
        size, went = np.asarray(world.state.size), np.array([mark == "x" for mark in marks])
        assert (size == before)[went].all(), "what is not written forgets nothing"
        assert (size <= np.minimum(written, 8 - history + 1)).all()
        # Even one-step episodes leave half the rows, but for those kept for others' sake.
        assert (size >= np.minimum(written, 5 - history)).all()
        if i % 7 == 0 and size.any():
            np.testing.assert_array_equal(world.drawn(n_step), world.expected(n_step))
    if world.state.size.any():
        np.testing.assert_array_equal(world.drawn(n_step), world.expected(n_step))


@pytest.mark.smoke
def test_a_data_set_has_its_episodes_history():
    """Two episodes observe (start, step); their actions are step / 8 - start / 16."""
    buffer = replay.of_recorded(recorded(episode(1, 3, True), episode(2, 2, False)))
    found = look_up(buffer, jnp.arange(4, -1, -1), GAMMA, 1, 3)
    first, second = -1 / 16, -2 / 16
    assert found.observation.tolist() == [
        [1, 0, 0, 1, 0, 0, 1, 0],
        [1, 1, first, 1, 0, 0, 1, 0],
        [1, 2, first + 1 / 8, 1, 1, first, 1, 0],
        [2, 0, 0, 2, 0, 0, 2, 0],
        [2, 1, second, 2, 0, 0, 2, 0],
    ]
    assert found.next_observation[2].tolist() == [1, 3, 3 / 16, 1, 2, first + 1 / 8, 1, 1]
    assert found.next_observation[4].tolist() == [2, 2, 0, 2, 1, second, 2, 0]


@pytest.mark.smoke
def test_each_network_sees_its_own_part_of_every_observation():
    """Three numbers, of which the actor sees the last two, and one action; a history of three.

    o o o | a o o o | a o o o
    """
    one = Views({"a": 0, "b": 1}, 3, ((1, 3),), ((0, 3),), {"b": (2,)}, {"a": (1,), "b": (2,)})
    seen = history.views(one, 1, 3)
    assert seen.actor == ((1, 4), (5, 8), (9, 11))
    assert seen.critic == ((0, 11),)
    assert (seen.size, seen.differ) == (11, True)
    assert not history.views(one._replace(actor=((0, 3),)), 1, 3).differ


class Fixed:
    """Acts by a fixed function of all that it sees."""

    def init(self, key, observation):
        return {"params": jnp.zeros(())}

    def apply(self, params, observation):
        weights = 1 / jnp.arange(2.0, observation.shape[-1] + 2)
        action = jnp.tanh(jnp.sum(observation * weights, axis=-1, keepdims=True) - 1)
        return SimpleNamespace(mode=lambda: action, sample=lambda _: (action, action[..., 0]))


def fixed(env, **overrides):
    made = make_experiment(env, normalize_observations=False, **overrides)
    return dataclasses.replace(made, networks=made.networks._replace(actor=Fixed()))


@pytest.mark.parametrize("env", [Counter(ends_at=3), Counter(breaks_at=3), Counter()])
def test_the_actor_has_seen_what_the_replay_buffer_says(env):
    """Episodes that terminate, that break, and of five steps: every stored action is the one that
    follows from what is looked up, and what is remembered is the newest row's next history.
    """
    experiment = fixed(env, history=4)
    step = jax.jit(partial(epoch.epoch, experiment))
    state = epoch.init(experiment, jax.random.PRNGKey(0))
    assert not state.memory.any()
    for _ in range(4):
        state, _ = step(state)
        assert state.normalizer.mean.shape == (2,), "statistics are those of single observations"
    sizes = state.replay.size
    rows = look_up(state.replay, jnp.arange(int(sizes.sum())), GAMMA, 1, 4)
    assert len(rows.reward) > 30, "the warm-up's uniform actions have left the buffer"
    acted = Fixed().apply(None, rows.observation).mode()
    np.testing.assert_allclose(acted, rows.action, atol=1e-6)
    assert len(np.unique(rows.action)) > 20
    newest = rows.next_observation[np.cumsum(sizes) - sizes]
    running = ~np.asarray(state.episodes.ended)
    assert running.any()
    np.testing.assert_array_equal(newest[running, 2:], state.memory[running])


class Effort(Counter):
    """Pays the action."""

    def step(self, state, action):
        state, step = super().step(state, action)
        return state, step._replace(reward=action[0])


def test_evaluation_remembers_too():
    experiment = fixed(Effort(ends_at=4), history=3, episode_length=7)
    state = epoch.init(experiment, jax.random.PRNGKey(0))
    args = state.train.actor, state.normalizer, jax.random.PRNGKey(1)
    played = jax.jit(partial(evaluate.evaluate, experiment, episodes=3))(*args)
    reset_key = jax.random.split(args[-1])[0]
    for key, total in zip(jax.random.split(reset_key, 3), played["return"], strict=True):
        one = Episode(None)
        one.observations = [[float(jax.random.uniform(key)), float(i)] for i in range(5)]
        for at in range(4):
            seen = [*one.observations[at]]
            for back in (1, 2):
                seen += [one.actions[at - back] if at >= back else 0.0]
                seen += one.observations[max(at - back, 0)]
            one.actions.append(float(Fixed().apply(None, jnp.float32(seen)).mode()[0]))
        assert float(total) == pytest.approx(sum(one.actions), abs=1e-5)


def test_each_of_several_agents_has_its_own():
    """Two seeds in one program remember, store and learn what they do in one each."""
    many = make_experiment(num_seeds=2, history=3, seed=3)
    after, _ = jax.jit(population.epoch(many))(population.init(many)())
    after, _ = jax.jit(population.epoch(many))(after)
    for i in range(2):
        one = make_experiment(history=3, seed=3 + i)
        step, state = jax.jit(population.epoch(one)), population.init(one)()
        state = step(step(state)[0])[0]
        np.testing.assert_array_equal(after.memory[i, :, 1:3], state.memory[:, 1:3])
        np.testing.assert_allclose(after.memory[i], state.memory, atol=1e-5)
        for x, y in zip(*map(jax.tree.leaves, (after.train, state.train)), strict=True):
            np.testing.assert_allclose(x[i], y, atol=1e-4)
    assert np.ptp(after.memory, axis=0).max() > 0.01


@pytest.mark.smoke
def test_without_one_the_state_has_no_more_arrays():
    state = epoch.init(make_experiment(), jax.random.PRNGKey(0))
    assert jax.tree.leaves(state.memory) == []


@pytest.mark.smoke
def test_more_than_an_episode_has_is_refused():
    """Five steps of the environment, each action held for two: three transitions."""
    start = partial(make_experiment, episode_length=5, action_repeat=2)
    jax.eval_shape(partial(epoch.init, start(history=3)), jax.random.PRNGKey(0))
    with pytest.raises(UsageError, match=r"history = 4: .* 3 transitions: lower history to 3"):
        jax.eval_shape(partial(epoch.init, start(history=4)), jax.random.PRNGKey(0))
