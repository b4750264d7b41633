"""Time limits, true final observations, fresh starts, non-finite values: episodes by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter, Reporting

from mjx_sac.envs import reports
from mjx_sac.envs.episodes import Episodes, EpisodeState, Outcome, callback_failure
from mjx_sac.types import Step


class Row(NamedTuple):
    """A vector step: the observations acted on, its outcome, and the state after it."""

    first: np.ndarray
    outcome: Outcome
    state: EpisodeState


def play(episodes: Episodes, steps: int) -> list[Row]:
    state = episodes.refill(episodes.init(), jax.random.PRNGKey(0))
    start, step = jax.jit(episodes.start), jax.jit(episodes.step)
    rows = []
    for _ in range(steps):
        state = start(state)
        observation = state.env.observation
        state, outcome = step(state, jnp.zeros((episodes.num_envs, 1)))
        rows.append(jax.tree.map(np.asarray, Row(observation, outcome, state)))
    return rows


def test_a_time_limit_truncates_and_keeps_the_final_observation():
    rows = play(Episodes(Counter(), 2, episode_length=3), 7)
    steps = [row.outcome.step for row in rows]
    # 3 is the true final observation: 0 would be the one after a reset.
    assert [step.observation[0, 1] for step in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [bool(step.truncated[0]) for step in steps] == [False, False, True] * 2 + [False]
    assert not any(step.terminated.any() for step in steps)
    # The rewards are 0, 1, 2.
    assert [float(row.state.episode_return[0]) for row in rows] == [0, 1, 3, 0, 1, 3, 0]
    assert [int(row.state.length[0]) for row in rows] == [1, 2, 3, 1, 2, 3, 1]


def test_termination_wins_over_the_time_limit_at_the_same_step():
    step = play(Episodes(Counter(ends_at=3), 1, episode_length=3), 3)[-1].outcome.step
    assert (bool(step.terminated[0]), bool(step.truncated[0])) == (True, False)


def test_every_episode_starts_from_its_own_draw():
    rows = play(Episodes(Counter(ends_at=2), 3, episode_length=10, pool_size=32), 20)
    starts = np.array([row.first[:, 0] for row in rows[::2]])  # [episode, environment]
    assert len(np.unique(starts)) == 30
    assert (starts > 0).all(), "a blank pool entry would start at 0"


def test_a_pool_that_runs_out_starts_again():
    rows = play(Episodes(Counter(ends_at=1), 2, episode_length=10, pool_size=3), 3)
    starts = [row.first[:, 0] for row in rows]
    np.testing.assert_array_equal(np.concatenate(starts)[3:], np.concatenate(starts)[:3])


@pytest.mark.parametrize(
    ("used", "length", "steps", "short"),
    [
        (4, 0, 5, False),  # half of eight is left, and no episode ends
        (5, 0, 5, True),
        (2, 0, 10, False),  # six are left, and three episodes end
        (2, 9, 11, False),  # each ends twice, which makes six
        (3, 9, 11, True),
        (1, 0, 1000, True),  # more than there are
        (0, 0, 1000, False),
    ],
)
def test_initial_states_run_short_by_arithmetic(used, length, steps, short):
    episodes = Episodes(Counter(), 3, episode_length=10, pool_size=8)
    state = episodes.init()
    no = jnp.zeros(3, bool)
    state = state.replace(pool_next=used, ended=no, length=jnp.full(3, length))
    assert bool(episodes.runs_short(state, steps)) is short
    assert bool(episodes.runs_short(episodes.init(), 1)), "a blank pool"


def test_reports_are_summed_averaged_and_last_of_an_episode():
    """Five steps, each action held for two: rewards 0 to 4, 9 to 5 steps left to 10."""
    episodes = Episodes(Reporting(ends_at=5), 2, episode_length=9, action_repeat=2)
    last = play(episodes, 3)[-1]
    assert episodes.reported == ("left", "reward_half", "success")
    found = reports.per_episode(episodes.reported, last.state.metrics, last.state.length)
    success = (last.first[:, 0] < 0.5).tolist()
    assert found.tolist() == [[7.0, 5.0, float(one)] for one in success]
    assert play(Episodes(Counter(), 2, episode_length=9), 1)[0].state.metrics is None


def test_a_refill_draws_again():
    episodes = Episodes(Counter(), 1, episode_length=3, pool_size=4)
    states = [episodes.refill(episodes.init(), jax.random.PRNGKey(i)) for i in range(2)]
    pools = [state.pool.observation[:, 0] for state in states]
    assert len(np.unique(np.concatenate(pools))) == 8


def test_a_non_finite_environment_is_reset_others_are_untouched():
    class OneBreaks(Counter):
        def step(self, state, action):
            state, step = super().step(state, action)
            breaks = (state.inner[0] == 2) & (action[0] > 0)
            return state, step._replace(reward=jnp.where(breaks, jnp.inf, step.reward))

    episodes = Episodes(OneBreaks(), 3, episode_length=5)
    states = {}
    for broken in (False, True):
        state = episodes.refill(episodes.init(), jax.random.PRNGKey(0))
        action = jnp.array([[0.0], [1.0 if broken else 0.0], [0.0]])
        valid = []
        for _ in range(4):
            state, outcome = episodes.step(episodes.start(state), action)
            valid.append(np.asarray(outcome.valid).tolist())
        states[broken] = state
    assert valid == [[True] * 3, [True, False, True], [True] * 3, [True, False, True]]
    assert np.isfinite(states[True].episode_return).all()
    others = [jax.tree.map(lambda x: x[::2], state.env) for state in states.values()]
    jax.tree.map(np.testing.assert_array_equal, *others)


@pytest.mark.parametrize(
    ("ends_at", "limit", "count", "terminated", "truncated"),
    [
        (1000, 9, 3, False, False),
        (2, 9, 2, True, False),
        (1000, 2, 2, False, True),
        (2, 2, 2, True, False),
    ],
)
def test_action_repeat_adds_rewards_until_the_episode_ends(
    ends_at, limit, count, terminated, truncated
):
    # Three steps are worth 0 + 1 + 2, two 0 + 1. What ended the episode stays what ended it.
    episodes = Episodes(Counter(ends_at=ends_at), 1, episode_length=limit, action_repeat=3)
    ((_, (step, *_), state),) = play(episodes, 1)
    assert float(step.observation[0, 1]) == count
    assert float(step.reward[0]) == sum(range(count))
    assert int(state.length[0]) == count
    assert (bool(step.terminated[0]), bool(step.truncated[0])) == (terminated, truncated)


@pytest.mark.parametrize("action_repeat", [1, 3])
def test_an_environments_own_truncation_is_no_termination(action_repeat):
    class Truncates(Counter):
        def step(self, state, action):
            state, step = super().step(state, action)
            return state, Step(step.observation, step.reward, jnp.array(False), state.inner[0] >= 2)

    rows = play(Episodes(Truncates(), 1, episode_length=100, action_repeat=action_repeat), 4)
    expected = [False, True, False, True] if action_repeat == 1 else [True] * 4
    assert [bool(row.outcome.step.truncated[0]) for row in rows] == expected
    assert not any(row.outcome.step.terminated[0] for row in rows)


def test_what_a_callback_raised_is_one_line():
    def boom(x):
        raise ZeroDivisionError("of two\nlines")

    shape = jax.ShapeDtypeStruct((), jnp.float32)
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jax.jit(lambda x: jax.pure_callback(boom, shape, x))(1.0).block_until_ready()
    failure = callback_failure(error.value)
    assert str(failure).startswith(
        "env: a callback to Python raised ZeroDivisionError: of two lines;"
    )
    assert callback_failure(RuntimeError("no memory")) is None
