"""Gradient steps of a vector step: `learn` draws their batches and takes them."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt32

from mjx_sac.algorithms import base
from mjx_sac.training.compiled import batches as batches_lib
from mjx_sac.training.compiled import metrics as metrics_lib
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.types import Key, TrainState, Transition

Parts = tuple[tuple[metrics_lib.Packed, Bool[Array, "..."] | None], ...]
"""`base.Measured`, packed."""

AGENT_VMAP_AXIS = "agents"
"""The axis of `vmap` by which several agents are trained in one program."""

UPDATES_PER_TURN = 2
"""Unroll factor of the scan over updates. Measured: 2 beats 1 and 4 on a CPU by about 10 % (cause
unknown), and saves 3 launches per update on a GPU."""


def learn(
    experiment: Experiment,
    state: RunState,
    sample_key: Key,
    update_key: Key,
    due: Bool[Array, ""],
) -> tuple[RunState, Parts, Bool[Array, ""]]:
    """Run the updates that are `due`, if there are transitions; return metrics, and whether."""
    config = experiment.config
    trained = due & jnp.any(batches_lib.source(config, state).size > 0)
    batches = batches_lib.draw(experiment, state, sample_key)
    keys = jax.random.split(update_key, (config.updates_per_vector_step, 2))
    updates = jax.jit(partial(run_updates, experiment))  # jit: shapes and branch share one trace
    shapes = jax.eval_shape(updates, state.train, batches, keys)[1]
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    some = for_any_agent(trained) if config.is_population else trained
    train, metrics = jax.lax.cond(
        some, updates, lambda train, *_: (train, blank), state.train, batches, keys
    )
    if config.is_population:
        since = train.since_actor_update  # of all agents, see `RunState.of_agents`
        train = jax.tree.map(lambda new, old: jnp.where(trained, new, old), train, state.train)
        train = train.replace(since_actor_update=since)
    return state.replace(train=train), metrics, trained


def for_any_agent(predicate: Bool[Array, ""]) -> Bool[Array, ""]:
    """Return whether it holds for any agent: one answer for all, or `cond` would run both."""
    return cast(Array, jax.lax.pmax(predicate.astype(jnp.int32), AGENT_VMAP_AXIS)) > 0


def run_updates(
    experiment: Experiment,
    train: TrainState,
    batches: Transition,
    keys: UInt32[Array, "updates 2 2"],
) -> tuple[TrainState, Parts]:
    """Take gradient steps one after another, each with its own batch and pair of keys.

    Where it is known beforehand which of them move a delayed actor, they are laid out like that: a
    branch in a gradient step would make a GPU wait for the host.
    """
    algorithm, period = experiment.algorithm, experiment.algorithm.period(experiment.config)
    update = partial(base.update, algorithm=algorithm, **experiment.static)

    def one(
        train: TrainState, inputs: tuple[Transition, Array], actor_moves: bool | None = None
    ) -> tuple[TrainState, Parts]:
        train, measured = update(train, *inputs, actor_moves=actor_moves)
        return train, tuple((metrics_lib.pack(metrics), when) for metrics, when in measured)

    unroll = min(UPDATES_PER_TURN, len(keys))
    if period == 1 or len(keys) % period:
        train, parts = jax.lax.scan(one, train, (batches, keys), unroll=unroll)
    else:
        turns = jax.tree.map(lambda x: x.reshape(-1, period, *x.shape[1:]), (batches, keys))
        turn = partial(_period, one, algorithm.losses.actor_first)
        train, parts = jax.lax.scan(turn, train, turns)
        parts = jax.tree.map(lambda x: x.reshape(len(x) * x.shape[1], *x.shape[2:]), parts)
    return train, tuple(
        (
            metrics_lib.reduce_over_time(metrics_lib.summarize_rows(part), when),
            None if when is None else jnp.any(when),
        )
        for part, when in parts
    )


def _period(
    one: Any, actor_first: bool, train: TrainState, inputs: tuple[Transition, Array]
) -> tuple[TrainState, Parts]:
    """Take the gradient steps along the first axis of `inputs`: the first or the last moves the
    actor, the others do not.
    """
    moving, others = (slice(1), slice(1, None)) if actor_first else (slice(-1, None), slice(-1))

    def some(train: TrainState, which: slice, moves: bool) -> tuple[TrainState, Parts]:
        chosen = jax.tree.map(lambda x: x[which], inputs)
        step, n = partial(one, actor_moves=moves), len(chosen[1])
        return jax.lax.scan(step, train, chosen, unroll=min(UPDATES_PER_TURN, n))

    if actor_first:
        train, (critics, actor) = some(train, moving, moves=True)
        train, (more,) = some(train, others, moves=False)
    else:
        train, (more,) = some(train, others, moves=False)
        train, (critics, actor) = some(train, moving, moves=True)
    return train, (jax.tree.map(lambda *x: jnp.concatenate(x), critics, more), actor)
