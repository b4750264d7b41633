"""Memory is estimated before anything is allocated."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers.runs import make_experiment

from mjx_sac.config import UsageError
from mjx_sac.training.compiled import population
from mjx_sac.training.host import memory


def check(dataset=None, **config):
    experiment = make_experiment(**config)
    shapes = jax.eval_shape(population.init(experiment)).replace(dataset=dataset)
    memory.check(experiment.config, shapes, experiment.config.batch_size)


def test_a_small_run_fits():
    check()


def test_both_figures_and_the_field_to_lower_are_named():
    # Rows of an action, a reward, a flag and a row's number; observations of 2 numbers, one more
    # for five transitions: 4 + 4 + 1 + 4 + 1.2 * 8 = 22.6 bytes for each of 10^12 transitions.
    message = r"buffer_size = 10+: .* \(replay buffer 22,600\.0 GB, .* has .*: lower buffer_size"
    with pytest.raises(UsageError, match=message):
        check(buffer_size=10**12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_seeds": 1000}, "for 1000 agents .* lower buffer_size or num_seeds"),
        ({"members": ({"tau": 0.1}, {"tau": 0.2})}, "for 2 agents .* or try fewer at once"),
    ],
)
def test_all_agents_count(changes, words):
    with pytest.raises(UsageError, match=words):
        check(buffer_size=10**11, **changes)


def test_an_agent_whose_turn_it_is_counts_twice(monkeypatch):
    """22.6 bytes, as above, for each of its 10^11 transitions, and three times as many for all."""
    monkeypatch.setattr(population, "MANY_PRODUCTS", 0)
    message = r"replay buffer 6,780\.0 GB, .* the agent whose turn it is 2,260\.0 GB"
    with pytest.raises(UsageError, match=message):
        check(buffer_size=10**11, num_seeds=3)


def test_batches_hold_the_history():
    found = []
    for history in (1, 4):
        with pytest.raises(UsageError) as error:
            check(buffer_size=10**12, batch_size=10**11, history=history)
        found.append(
            float(re.findall(r"batches ([\d,.]+) GB", str(error.value))[0].replace(",", ""))
        )
    assert found[1] == pytest.approx(4 * found[0], rel=1e-3)


def test_a_data_set_counts():
    rewards = jax.ShapeDtypeStruct((10**12, 1), jnp.float32)
    with pytest.raises(UsageError, match=r"data set 4,000\.0 GB.*: name a smaller one"):
        check(dataset=rewards)


def test_this_machine_has_some_memory():
    assert 1e8 < memory.available(jax.devices("cpu")[0]) < 1e15
