"""Batches from a data set: all of them offline, half of each otherwise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.datasets import GAMMA, episode, recorded, transitions
from helpers.envs import Counter
from helpers.runs import make_experiment

from mjx_sac.training.compiled import batches as batches_lib
from mjx_sac.training.compiled import epoch, population, replay
from mjx_sac.types import Transition

pytestmark = pytest.mark.smoke

DATA = {"dataset": "mine-v0", "discount": GAMMA, "normalize_observations": False}
MANY = [episode(10 + i, 1 + i % 4, i % 2 == 0) for i in range(12)]


def started(experiment, *episodes):
    state = epoch.init(experiment, jax.random.PRNGKey(0))
    dataset = jax.tree.map(jnp.asarray, replay.of_recorded(recorded(*episodes)))
    return state.replace(dataset=dataset)


def table(batch: Transition) -> np.ndarray:
    return np.concatenate([np.asarray(x).reshape(x.shape[0], -1) for x in batch], axis=1)


def drawn(experiment, state, key=0):
    batches = batches_lib.draw(experiment, state, jax.random.PRNGKey(key))
    return [table(jax.tree.map(lambda x, i=i: x[i], batches)) for i in range(len(batches.reward))]


@pytest.mark.parametrize("n_step", [1, 3])
def test_windows_stop_at_ends_and_bootstrap_from_final_observations(n_step):
    # Episode (2, 2, truncated): its second step sees (2, 2) next and bootstraps from there.
    buffer = replay.of_recorded(recorded(episode(1, 3, True), episode(2, 2, False)))
    newest_first = transitions(buffer, n_step)[::-1]
    columns = {"reward": newest_first[:, 3], "discount": newest_first[:, 4]}
    finals = newest_first[:, 5:].tolist()
    g = GAMMA
    if n_step == 1:
        assert columns["reward"].tolist() == [10, 11, 12, 20, 21]
        np.testing.assert_allclose(columns["discount"], [g, g, 0, g, g])
        assert finals == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2]]
    else:
        sums = [10 + 11 * g + 12 * g**2, 11 + 12 * g, 12, 20 + 21 * g, 21]
        np.testing.assert_allclose(columns["reward"], sums, rtol=1e-6)
        np.testing.assert_allclose(columns["discount"], [0, 0, 0, g**2, g], rtol=1e-6)
        assert finals == [[1, 3], [1, 3], [1, 3], [2, 2], [2, 2]]


def test_offline_every_transition_is_drawn_and_no_other():
    experiment = make_experiment(**DATA, offline=True, batch_size=64)
    state = started(experiment, *MANY)
    there = {tuple(row) for row in transitions(state.dataset).round(5)}
    found = {tuple(row) for batch in drawn(experiment, state) for row in batch.round(5)}
    assert found == there


def test_offline_nothing_is_stepped_and_nothing_else_than_networks_changes():
    experiment = make_experiment(env=Counter(breaks_at=1), **DATA, offline=True)
    before = started(experiment, *MANY)
    after, metrics = jax.jit(partial(epoch.epoch, experiment))(before)
    # Eight vector steps of four environments, without warm-up: as many gradient steps as ever.
    assert (int(metrics["trained_vector_steps"]), int(metrics["replay/size"])) == (8, 30)
    assert not [tag for tag in metrics if tag.startswith("rollout/")]
    assert int(after.train.critic_optimizer[0].count) == 32
    for part in ("episodes", "replay", "normalizer", "dataset"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, part), getattr(after, part))


@pytest.mark.parametrize("history", [1, 3])
def test_half_of_each_batch_is_the_runs_own(history):
    experiment = make_experiment(**DATA, batch_size=32, warm_up_steps=0, history=history)
    state, _ = jax.jit(partial(epoch.epoch, experiment))(started(experiment, *MANY))
    recorded_rows = {tuple(row) for row in transitions(state.dataset, 1, history).round(4)}
    own_rows = {tuple(row) for row in transitions(state.replay, 1, history).round(4)}
    for batch in drawn(experiment, state):
        rows = [tuple(row) for row in batch.round(4)]
        assert set(rows[0::2]) <= recorded_rows
        assert set(rows[1::2]) <= own_rows
        assert min(len(set(rows[0::2])), len(set(rows[1::2]))) > 6, "sixteen draws of each"


def test_agents_share_one_data_set_and_draw_each_their_own():
    experiment = make_experiment(**DATA, offline=True, num_seeds=2)
    dataset = jax.tree.map(jnp.asarray, replay.of_recorded(recorded(*MANY)))
    state = population.init(experiment)().replace(dataset=dataset)
    after, metrics = jax.jit(population.epoch(experiment))(state)
    assert after.dataset.reward.shape == (30, 1)
    assert metrics["replay/size"].tolist() == [30, 30]
    first, second = jax.tree.leaves(after.train.actor_params)[-1]
    assert np.abs(first - second).max() > 0


def test_without_one_the_state_has_no_more_arrays():
    assert jax.tree.leaves(epoch.init(make_experiment(), jax.random.PRNGKey(0)).dataset) == []
