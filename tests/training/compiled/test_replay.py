"""The replay buffer against a deque that keeps every next observation, as a table would."""

import collections
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.training.compiled import replay
from mjx_sac.types import Step

pytestmark = pytest.mark.smoke

GAMMA = 0.9
insert = jax.jit(replay.insert)
sample = jax.jit(replay.sample, static_argnums=(2, 3))
look_up = jax.jit(replay.look_up, static_argnums=3)


class Oracle:
    """One deque per environment; every observation, action and reward is a number used once."""

    def __init__(self, buffer_size: int, num_envs: int, episode_length: int = 1000) -> None:
        self.slots = buffer_size // num_envs
        self.tables = [collections.deque(maxlen=self.slots) for _ in range(num_envs)]
        self.state = replay.init(buffer_size, num_envs, 2, 1, episode_length)
        self.started = np.ones(num_envs, bool)
        self.observation = np.zeros(num_envs)
        self.counter = 0

    def fresh(self) -> np.ndarray:
        values = self.counter + 1 + np.arange(len(self.tables))
        self.counter += len(self.tables)
        return values.astype(np.float32)

    def insert(self, ended: np.ndarray, terminated: np.ndarray, valid: np.ndarray) -> None:
        observation = np.where(self.started, self.fresh(), self.observation)
        following, action, reward = self.fresh(), self.fresh(), self.fresh()
        pair = lambda x: jnp.stack([x, -x], axis=-1)  # noqa: E731
        step = Step(pair(following), reward, ended & terminated, ended & ~terminated)
        acted = pair(observation), action[:, None]
        self.state = insert(self.state, *acted, step, self.started, valid)
        for e, table in enumerate(self.tables):
            if valid[e]:
                discount = 0.0 if ended[e] and terminated[e] else GAMMA
                table.append((observation[e], action[e], reward[e], discount, following[e]))
        self.started, self.observation = ended | ~valid, following

    def rows(self) -> list[tuple[float, ...]]:
        """What must be there: of each table its newest `size` rows."""
        sizes = np.asarray(self.state.size)
        return [
            row
            for table, size in zip(self.tables, sizes, strict=True)
            for row in list(table)[len(table) - size :]
        ]

    def windows(self, n_step: int) -> list[tuple[float, ...]]:
        """What `n_step` steps from each of `rows` on come to, by walking through the list."""
        sizes = np.asarray(self.state.size)
        return [
            window(list(table)[i:], n_step)
            for table, size in zip(self.tables, sizes, strict=True)
            for i in range(len(table) - size, len(table))
        ]

    def sampled(self, n: int, seed: int = 0) -> list[tuple[float, ...]]:
        batch = sample(self.state, jax.random.PRNGKey(seed), (n,), GAMMA)
        np.testing.assert_array_equal(batch.observation[:, 0], -batch.observation[:, 1])
        np.testing.assert_array_equal(batch.next_observation[:, 0], -batch.next_observation[:, 1])
        columns = (
            batch.observation[:, 0],
            batch.action[:, 0],
            batch.reward,
            batch.discount,
            batch.next_observation[:, 0],
        )
        return [tuple(float(x) for x in row) for row in zip(*map(np.asarray, columns), strict=True)]


def window(rows: list[tuple[float, ...]], n_step: int) -> tuple[float, ...]:
    """The first row, up to `n_step` steps long: as far as each begins where the last one ended."""
    (observation, action, total, discount, following), *later = rows
    for row in later[: n_step - 1]:
        if discount == 0 or row[0] != following:
            break
        total += discount * row[2]
        discount, following = discount * row[3], row[4]
    return observation, action, total, discount, following


def as_set(rows: list[tuple[float, ...]]) -> set[tuple[float, ...]]:
    return {tuple(round(float(x), 4) for x in row) for row in rows}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), num_envs=st.sampled_from([1, 3]), steps=st.integers(1, 60))
def test_every_row_is_a_transition_that_happened(data, num_envs, steps):
    """Any pattern of episode ends and invalid steps, round an eight-row ring several times."""
    oracle = Oracle(8 * num_envs, num_envs, episode_length=4)
    flags = st.lists(st.sampled_from(".....tTx"), min_size=num_envs, max_size=num_envs)
    for _ in range(steps):
        marks = np.array(data.draw(flags))
        valid, before = marks != "x", np.asarray(oracle.state.size)
        oracle.insert(np.isin(marks, ["t", "T"]) & valid, marks == "t", valid)
        written = np.array([len(table) for table in oracle.tables])
        size = np.asarray(oracle.state.size)
        assert (size == before)[~valid].all(), "what is not written forgets nothing"
        assert (size <= written).all()
        assert (size >= np.minimum(written, 4)).all(), "even one-step episodes leave half the rows"
    if sum(np.asarray(oracle.state.size)):
        assert as_set(oracle.sampled(512)) == as_set(oracle.rows())


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    steps=st.integers(1, 60),
    kinds=st.sampled_from([".........tTx", ".........T", ".TTTT"]),
)
def test_windows_are_those_that_happened(data, steps, kinds):
    """Every transition with 1 to 7 steps, as above; each environment has a fill of its own."""
    oracle = Oracle(24, 3, episode_length=4)
    flags = st.lists(st.sampled_from(kinds), min_size=3, max_size=3)
    for _ in range(steps):
        marks = np.array(data.draw(flags))
        valid = marks != "x"
        oracle.insert(np.isin(marks, ["t", "T"]) & valid, marks == "t", valid)
    if total := int(sum(np.asarray(oracle.state.size))):
        every = jnp.arange(24) % total
        for n_step in range(1, 8):
            found = look_up(oracle.state, every, GAMMA, n_step)
            columns = [found.observation[:, 0], found.action[:, 0], found.reward, found.discount]
            rows = np.stack([*columns, found.next_observation[:, 0]], axis=-1)[:total]
            expected = np.array(oracle.windows(n_step))
            by_action = lambda rows: rows[np.argsort(rows[:, 1])]  # noqa: E731
            np.testing.assert_allclose(by_action(rows), by_action(expected), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 8, 9, 16, 27])
def test_filling_and_wrapping_keeps_the_newest(steps):
    """Episodes that never end: exactly the last eight of each environment, all drawn."""
    oracle = Oracle(16, 2)
    for _ in range(steps):
        oracle.insert(np.zeros(2, bool), np.zeros(2, bool), np.ones(2, bool))
    assert np.asarray(oracle.state.size).tolist() == [min(steps, 8)] * 2
    assert as_set(oracle.sampled(2000)) == as_set(oracle.rows())


def test_time_limits_of_the_declared_length_cost_no_transition():
    oracle = Oracle(20, 1, episode_length=5)
    for step in range(1, 101):
        oracle.insert(np.array([step % 5 == 0]), np.array([False]), np.array([True]))
        assert int(oracle.state.size[0]) == min(step, 20)
    assert as_set(oracle.sampled(2000)) == as_set(oracle.rows())


def test_truncated_rows_bootstrap_and_terminated_ones_do_not():
    oracle = Oracle(8, 1)
    for ended, terminated in [
        (False, False),
        (True, False),
        (False, False),
        (True, True),
        (False, False),
    ]:
        oracle.insert(np.array([ended]), np.array([terminated]), np.array([True]))
    rows = sorted(as_set(oracle.sampled(500)))
    assert [discount for *_, discount, _ in rows] == [0.9, 0.9, 0.9, 0.0, 0.9]
    # Step i numbers a first observation 4i + 1 and what follows 4i + 2, so by hand: no next
    # observation is the next episode's.
    assert [(o, following) for o, _, _, _, following in rows] == [
        (1, 2),
        (2, 6),
        (9, 10),
        (10, 14),
        (17, 18),
    ]


def play(slots: int, *episodes: tuple[float, list[float], str]) -> replay.ReplayState:
    """One environment's episodes: their first observation, from which they count up, their rewards,
    and how they end: "terminated", "truncated", or "nonfinite", by a step that is not written.
    """
    state, one = replay.init(slots, 1, 1, 1), np.ones(1)
    for first, rewards, end in episodes:
        for i, reward in enumerate(rewards):
            terminated = np.array([end == "terminated" and i == len(rewards) - 1])
            step = Step((first + i + one)[None], reward * one, terminated, ~terminated)
            yes = np.array([True])
            state = insert(state, (first + i) * one[None], one[None], step, yes & (i == 0), yes)
        if end == "nonfinite":
            step = Step(np.nan * one[None], np.nan * one, ~yes, ~yes)
            state = insert(state, np.nan * one[None], one[None], step, ~yes, ~yes)
    return state


def test_three_steps_end_with_their_episode():
    endless = (20, [32, 64], "")
    state = play(8, (0, [1, 2, 4, 8], "truncated"), (10, [8, 16], "terminated"), endless)
    rows = look_up(state, jnp.arange(7, -1, -1), 0.5, 3)  # the oldest first
    assert rows.observation[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 20, 21]
    # 1 + 2/2 + 4/4, 2 + 4/2 + 8/4, 4 + 8/2, 8; 8 + 16/2, 16; 32 + 64/2, 64.
    assert rows.reward.tolist() == [3, 6, 8, 8, 16, 16, 64, 64]
    assert rows.discount.tolist() == [1 / 8, 1 / 8, 1 / 4, 1 / 2, 0, 0, 1 / 4, 1 / 2]
    assert rows.next_observation[:, 0].tolist() == [3, 4, 4, 4, 12, 12, 22, 22]


def test_three_steps_stop_at_a_gap_and_at_the_newest():
    """Five slots hold the last five transitions; the newest lies right before the oldest."""
    state = play(5, (0, [1, 2, 4, 8], "nonfinite"), (10, [16, 32, 64], ""))
    rows = look_up(state, jnp.arange(4, -1, -1), 0.5, 3)
    assert int(state.next[0]) == 2
    # 4 + 8/2, 8; 16 + 32/2 + 64/4, 32 + 64/2, 64.
    assert rows.reward.tolist() == [8, 8, 48, 64, 64]
    assert rows.discount.tolist() == [1 / 4, 1 / 2, 1 / 8, 1 / 4, 1 / 2]
    assert rows.next_observation[:, 0].tolist() == [4, 4, 13, 13, 13]


def test_three_steps_stop_before_what_is_forgotten():
    """Five one-step episodes need ten of nine rows: the last ends where the first one began, whose
    slot comes next.
    """
    state = play(5, *((10 * i, [2**i], "truncated") for i in range(5)))
    assert (len(state.observation), int(state.head[0]), int(state.row[0, 0])) == (9, 1, 1)
    rows = look_up(state, jnp.array([0, 1]), 0.5, 3)
    assert rows.reward.tolist() == [16, 8]
    assert rows.next_observation[:, 0].tolist() == [41, 31]


def test_sampling_is_uniform_over_unequal_environments():
    """One environment holds 8 rows, the other, which lost steps, 2: chi-squared over the ten."""
    oracle = Oracle(16, 2)
    for step in range(8):
        oracle.insert(np.zeros(2, bool), np.zeros(2, bool), np.array([True, step < 2]))
    n = 20_000
    counts = np.array(list(collections.Counter(oracle.sampled(n)).values()))
    assert len(counts) == 10
    chi_squared = np.sum((counts - n / 10) ** 2 / (n / 10))
    assert chi_squared < 27.9, "the 99.9 % quantile at nine degrees of freedom"


def test_many_environments_take_no_memory_for_each_of_many_draws():
    """4,096 environments and 65,536 draws: a number for each pair would be a gigabyte."""
    shapes = jax.eval_shape(partial(replay.init, 1_000_000, 4_096, 2, 1))
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    compiled = sample.lower(shapes, key, (65_536,), 0.99).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 100 * 65_536


def test_memory_is_a_little_over_half_of_a_table():
    """Brax's ant, 1,000,000 rows, each of 27 + 8 + 1 + 1 + 27 + 1 floats in Brax's queue."""
    shapes = jax.eval_shape(partial(replay.init, 1_000_000, 16, 27, 8))
    nbytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    assert nbytes < 0.6 * 65 * 4 * 1_000_000
