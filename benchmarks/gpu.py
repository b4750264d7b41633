"""Everything we want to know of a GPU, in under eight minutes, from a plain checkout, without network or packages beyond ours.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json

In this order, most wanted first; what no time is left for is left out, and the file is written anew after each part:

    training   1,000,000 iterations of ant, physics and updates, on the clock
    bench      `mjx-sac bench` at 128 environments, Brax's SAC beside it
    many_envs  the same alone at 1,024 environments
    precision  gradient updates/s with products at float32's full precision
    pallas     gradient updates with the networks of `pallas_mlp.py` and with ours, in turns: ratio of rates, and of the parameters
               after a round of updates the largest difference
    xla        gradient updates with options of XLA's that may save launches, one by one: ratio of rates
    options    the epoch with our compiler options and without, in turns: ratio of rates, and whether both leave the same state
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import common
import jax
import jax.numpy as jnp
import numpy as np
import pallas_mlp
import peers

from mjx_sac import envs, networks
from mjx_sac.bench import stages
from mjx_sac.config import Config
from mjx_sac.losses import Losses
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.host import compile

_GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"

OPTIONS: dict[str, dict[str, Any]] = {
    "no graphs": {"xla_gpu_enable_command_buffer": ""},
    "loops in graphs": {"xla_gpu_enable_command_buffer": f"{_GRAPHS},WHILE,CONDITIONAL"},
    "loops in graphs, unrolled": {
        "xla_gpu_enable_command_buffer": f"{_GRAPHS},WHILE,CONDITIONAL",
        "xla_gpu_command_buffer_unroll_loops": True,
    },
    "graphs of any size": {"xla_gpu_graph_min_graph_size": 1},
    "branches of graphs at once": {"xla_gpu_command_buffer_scheduling_mode": "CONCURRENT"},
    "a kernel starts before the last has ended": {"xla_gpu_enable_pdl": True},
    "two turns of a loop as one": {"xla_gpu_enable_while_loop_double_buffering": True},
}
"""Of XLA, that may make a small learner faster: they are about CUDA graphs, and about what lies between kernels."""


def start(config: Config) -> tuple[epoch_lib.Experiment, epoch_lib.RunState]:
    """An agent and its state before the first vector step."""
    env = envs.make(config.env, config)
    agent = epoch_lib.make_experiment(config, env, networks.make(config, env.action_size), Losses())
    return agent, jax.jit(partial(epoch_lib.init, agent))(jax.random.PRNGKey(config.seed))


def training(config: Config, seconds: float) -> dict[str, Any]:
    """Trains until all iterations are done or the time is over; the clock starts when the program is compiled and has warmed up."""
    agent, state = start(config)
    started = time.perf_counter()
    epoch = (
        jax.jit(partial(epoch_lib.epoch, agent), donate_argnums=0)
        .lower(state)
        .compile(compile.options())
    )
    compiling = time.perf_counter() - started
    state, _ = jax.block_until_ready(epoch(state))  # the warm-up
    curve = []
    started = time.perf_counter()
    for done in range(config.epoch_iterations, config.iterations + 1, config.epoch_iterations):
        state, metrics = epoch(state)
        reward = float(metrics["rollout/ep_rew_mean"])
        curve.append(
            {"iterations": done, "seconds": time.perf_counter() - started, "ep_rew_mean": reward}
        )
        if curve[-1]["seconds"] > seconds:
            break
    rate = curve[-1]["iterations"] / curve[-1]["seconds"]
    return {
        "compile_seconds": compiling,
        "iterations_per_second": rate,
        "minutes_per_million": 1e6 / rate / 60,
        "curve": curve,
    }


def with_pallas(config: Config, repeats: int) -> dict[str, Any]:
    """Gradient updates of two programs that differ in how the networks are computed; why not, where it cannot be done."""
    pallas_mlp.INTERPRET = jax.default_backend() == "cpu"
    agent, state = start(config)
    state = state.replace(replay=stages.full(state.replay))
    programs: dict[str, stages.Stage] = {}
    trained: dict[str, Any] = {}
    for name, module in {"pallas": pallas_mlp, "ours": networks}.items():
        with mock.patch.multiple(
            networks, MLP=module.MLP, Critic=module.Critic
        ):  # both have the same parameters
            nets = networks.make(config, agent.episodes.env.action_size)
            try:
                update, programs[name] = stages.updates(
                    dataclasses.replace(agent, networks=nets), state
                )
            except (
                jax.errors.JaxRuntimeError
            ) as error:  # the chip's shared memory is smaller than an H200's, say
                return {"refused": str(error)}
        trained[name] = jax.device_get(
            update(jax.tree.map(jnp.copy, state.train), *stages.batches(agent, state))[0]
        )
    differences = jax.tree.map(
        lambda a, b: float(np.max(np.abs(a - b), initial=0.0)), trained["pallas"], trained["ours"]
    )
    _, rates = stages.measure(programs, repeats)
    return {
        "largest_difference": max(jax.tree.leaves(differences)),
        "rate_to_ours": stages.ratio(rates["pallas"], rates["ours"]),
    }


def with_more_options(config: Config, repeats: int) -> dict[str, Any]:
    """Gradient updates of programs that differ in XLA's options; why not, where it refuses one."""
    agent, state = start(config)
    result: dict[str, Any] = {}
    programs: dict[str, stages.Stage] = {}
    for name, options in {"ours": {}, **OPTIONS}.items():
        try:
            programs[name] = stages.updates(agent, state, options)[1]
        except jax.errors.JaxRuntimeError as error:
            result[name] = {"refused": str(error)}
    _, rates = stages.measure(programs, repeats)
    return result | {
        name: {**OPTIONS[name], "rate_to_ours": stages.ratio(rates[name], rates["ours"])}
        for name in [*programs][1:]
    }


def with_and_without_options(config: Config, repeats: int) -> dict[str, Any]:
    """Epochs of two programs that differ in `compilation.options` alone."""
    agent, state = start(config)
    lowered = jax.jit(partial(epoch_lib.epoch, agent), donate_argnums=0).lower(state)
    programs = {"with": lowered.compile(compile.options()), "without": lowered.compile()}
    states = {name: jax.tree.map(jnp.copy, state) for name in programs}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            states[name], _ = jax.block_until_ready(program(states[name]))
            rates[name].append(config.epoch_iterations / (time.perf_counter() - started))
    pairs = zip(*(jax.tree.leaves(jax.device_get(state)) for state in states.values()), strict=True)
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    return {
        "same_state": same,
        "rate_with_to_without": stages.ratio(rates["with"][1:], rates["without"][1:]),
    }


def main() -> None:
    """Runs the parts and writes what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--seconds", type=float, default=360, help="after which no part is begun")
    parser.add_argument("--iterations", type=int, default=1_000_000, help="of training")
    parser.add_argument(
        "--epoch",
        type=int,
        default=12_800,
        help="iterations per timed epoch; small where there is no GPU, to try this",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    started = time.perf_counter()

    def config(num_envs: int, **more: Any) -> Config:
        epoch = max(args.epoch, 2 * num_envs)
        return Config(
            env=args.env, num_envs=num_envs, log_interval=epoch, warm_up_steps=epoch, **more
        )

    def with_brax(config: Config) -> dict[str, Any]:
        return stages.run(config, args.repeats, peers.load(["brax"], config, args.repeats, None))

    parts: dict[str, Callable[[], Any]] = {
        "training": lambda: training(config(128, iterations=args.iterations), args.seconds / 3),
        "bench": lambda: with_brax(config(128)),
        "many_envs": lambda: stages.run(config(1024), args.repeats),
        "precision": lambda: stages.run(config(128, matmul_precision="highest"), args.repeats)[
            "stages"
        ]["update"],
        "pallas": lambda: with_pallas(config(128, buffer_size=100_000), args.repeats),
        "xla": lambda: with_more_options(config(128, buffer_size=100_000), args.repeats),
        "options": lambda: with_and_without_options(config(128), args.repeats),
    }
    result: dict[str, Any] = {"benchmark": "gpu", "env": args.env}
    for name, part in parts.items():
        if time.perf_counter() - started < args.seconds:
            result[name] = part()
            common.write(result, args.json)


if __name__ == "__main__":
    main()
