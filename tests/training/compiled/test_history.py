"""What networks see with `--history`, against episodes kept whole in lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.training.compiled import replay
from mjx_sac.types import Step

pytestmark = pytest.mark.smoke

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
