r"""Time training with `--history N` beside training without, in turns.

    python benchmarks/history_speed.py --json benchmarks/results/history_speed.json

An epoch is whole: actions, storing, drawing, gradient steps; of an environment with HalfCheetah's
sizes (17 observations, 6 actions) and no physics, which would hide what a history costs. Drawing
and gradient steps are timed by themselves, too. The replay buffer is full.
"""

import argparse
import pathlib
from functools import partial
from typing import Any

import common
import jax
import jax.numpy as jnp

from mjx_sac.algorithms import loader
from mjx_sac.bench import stages
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import Config, build
from mjx_sac.envs.base import State
from mjx_sac.training.compiled import batches, epoch
from mjx_sac.training.compiled.experiment import make_experiment
from mjx_sac.training.host import device
from mjx_sac.types import Step

VECTOR_STEPS = 10
"""Of an epoch; and draws of all batches of a vector step in a call."""


class Decaying:
    """An environment with HalfCheetah's sizes and next to no arithmetic."""

    observation_size, action_size = 17, 6

    def reset(self, key: jax.Array) -> State:
        return State(jax.random.normal(key, (17,)), inner=())

    def step(self, state: State, action: jax.Array) -> tuple[State, Step]:
        observation = 0.9 * state.observation + 0.1 * jnp.sum(action)
        ends = jnp.array(False), jnp.array(False)
        return State(observation, inner=()), Step(observation, observation[0], *ends)


def timed(config: Config) -> dict[str, stages.Stage]:
    """Return an epoch, drawing, and gradient steps as stages."""
    algorithm = loader.load(config)
    networks = algorithm.networks(config, Decaying.action_size)
    experiment = make_experiment(config, Decaying(), networks, algorithm)
    state = jax.jit(partial(epoch.init, experiment))(jax.random.PRNGKey(0))
    state = state.replace(replay=stages.full(state.replay), warm_up_left=jnp.int32(0))

    def draw(key: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        key, now = jax.random.split(key)
        drawn = jax.lax.optimization_barrier(batches.draw(experiment, state, now))
        return key, jax.tree.map(jnp.sum, drawn)  # all of it: XLA computes what is read

    rows, key = config.updates_per_vector_step * config.batch_size, jax.random.PRNGKey(1)
    whole = partial(epoch.epoch, experiment)
    return {
        "epoch": stages.stage(whole, state, "iterations", config.epoch_iterations),
        "draw": stages.stage(draw, key, "transitions", rows, state, length=VECTOR_STEPS),
        "update": stages.updates(experiment, state)[1],
    }


def main() -> None:
    """Time all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", default="sac")
    parser.add_argument("--histories", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    device.set_up("auto")
    given: dict[str, Any] = {"algorithm": args.algorithm, "warm_up_steps": 0}
    base = build(loader.config_class(args.algorithm), given)
    base = base.model_copy(update={"log_interval": VECTOR_STEPS * base.num_envs})
    found = {n: timed(base.model_copy(update={"history": n})) for n in (1, *args.histories)}
    every = {f"{part} {n}": one for n, parts in found.items() for part, one in parts.items()}
    rates = stages.measure(every, args.turns)
    result = {
        part: {
            "unit": f"{stage.unit}/s",
            "rates": {n: spread(rates[f"{part} {n}"]) for n in found},
            "beside_1": {
                n: ratio(rates[f"{part} {n}"], rates[f"{part} 1"]) for n in args.histories
            },
        }
        for part, stage in found[1].items()
    }
    how = {"cores": device.cores(), "settings": base.model_dump(mode="json")}
    common.write({"benchmark": "history_speed", **how, "parts": result}, args.json)


if __name__ == "__main__":
    main()
