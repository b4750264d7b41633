"""A delayed actor: gradient steps laid out in periods, and those that find out when it moves."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.algorithms import TINY
from helpers.networks import real_batch, stepping
from helpers.runs import make_experiment

from mjx_sac.training.compiled import metrics as metrics_lib
from mjx_sac.training.compiled import updates

ALGORITHMS = {
    "flashsac": TINY["flashsac"],
    "td3": {"target_delay": 2},
    "redq": {"num_critics": 3, "target_critics": 2, "policy_delay": 2},
}
"""All with a delay of two; FlashSAC's actor moves first, the others' last."""


@cache
def inputs(name):
    """Return the experiment, eight batches and eight pairs of keys."""
    experiment = make_experiment(file=name, **ALGORITHMS[name])
    rows = [real_batch(experiment.config, seed=seed) for seed in range(8)]
    batches = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    return experiment, batches, jax.random.split(jax.random.PRNGKey(3), (8, 2))


@cache
def one_by_one(name):
    """Return the states before and after eight steps, every other one of which moves the actor,
    and what was measured in each.
    """
    experiment, *given = inputs(name)
    state, step = stepping(experiment)
    states, history = [state], []
    for i in range(8):
        moves = i % 2 == (0 if experiment.algorithm.losses.actor_first else 1)
        # FlashSAC's finds out: a program that other tests have, too.
        how = {} if name == "flashsac" else {"moves": moves}
        state, measured = step(state, *jax.tree.map(lambda x: x[i], given), **how)  # noqa: B023
        states.append(state)
        done = measured if moves else measured[:1]
        history.append({tag: x for metrics, _ in done for tag, x in metrics.items()})
        if name == "flashsac":
            assert bool(measured[1][1]) is moves
    return states, history


def in_turns(name, length):
    """Return the states after each `length` gradient steps, as the epoch takes them, with the
    metrics of the critics' and, where it has moved, of the actor's.
    """
    experiment, *given = inputs(name)
    state, _ = stepping(experiment)
    run = jax.jit(partial(updates.run_updates, experiment))
    for start in range(0, 8 - length + 1, length):
        chosen = jax.tree.map(lambda x: x[start : start + length], given)  # noqa: B023
        state, ((critics, always), (actor, moved)) = run(state, *chosen)
        assert always is None
        moved = moved is None or bool(moved)
        yield state, metrics_lib.unpack(critics), metrics_lib.unpack(actor) if moved else {}


@pytest.mark.parametrize(
    ("name", "length"), [("flashsac", 4), ("flashsac", 1), ("td3", 4), ("td3", 3), ("redq", 4)]
)
def test_steps_are_those_taken_one_by_one(name, length):
    # Four are two periods, laid out beforehand; where periods do not fit each step finds out.
    states, history = one_by_one(name)
    first = inputs(name)[0].algorithm.losses.actor_first
    for turn, (state, critics, actor) in enumerate(in_turns(name, length), start=1):
        done = turn * length
        expected = states[done].replace(since_actor_update=done % 2)
        close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, state, expected)
        assert int(state.actor_optimizer[0].count) == (done + first) // 2
        for tag, found in (("train/critic_loss", critics), ("train/actor_loss", actor)):
            values = [x[tag] for x in history[done - length : done] if tag in x]
            assert (tag in found) is bool(values)
            if values:
                assert float(found[tag]) == pytest.approx(np.mean(values), rel=1e-4)
