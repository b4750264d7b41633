"""Measure all we want to know of a GPU, in eight minutes, from a plain checkout, offline.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json

In this order, most wanted first; what no time is left for is left out, and the file is written
again after each part:

    training   1,000,000 iterations of ant, physics and updates, on the clock
    bench      `mjx-sac bench` at 128 environments, Brax's SAC beside it
    many_envs  the same without Brax at 1,024 environments
    flashsac   its GPU regime: CheetahRun, 1,024 environments, two updates of 2,048 per vector step
    precision  gradient updates/s with products at float32's full precision
    pallas     gradient updates with the networks of `pallas_mlp.py` and with ours, in turns: ratio
               of rates, and the largest difference of parameters after a round of updates
    xla        gradient updates with each of XLA's options that may save launches: ratio of rates
    options    the epoch with our compiler options and without, in turns: ratio of rates, and
               whether both leave the same state
    warp       the epoch of Playground's CheetahRun with 1,024 environments on MJX-Warp in each
               graph mode, and on MJX in JAX, in turns: ratios of rates; needs mjx-sac[playground]
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

from mjx_sac import networks
from mjx_sac.algorithms import loader
from mjx_sac.bench import stages
from mjx_sac.bench.spread import ratio
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.warp import GRAPH_MODES
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
"""XLA's, about CUDA graphs and what lies between kernels: they may make a small learner faster."""


def training(config: Config, seconds: float) -> dict[str, Any]:
    """Train until all iterations are done or the time is over.

    The clock starts when the program is compiled and has warmed up.
    """
    experiment, state = stages.start(config)
    started = time.perf_counter()
    epoch = stages.compiled(partial(epoch_lib.epoch, experiment), state)
    compiling = time.perf_counter() - started
    state, _ = jax.block_until_ready(epoch(state))  # the warm-up
    curve = []
    started = time.perf_counter()
    for done in range(config.epoch_iterations, config.iterations + 1, config.epoch_iterations):
        state, metrics = epoch(state)
        reward = float(metrics["rollout/ep_rew_mean"])
        passed = time.perf_counter() - started
        curve.append({"iterations": done, "seconds": passed, "ep_rew_mean": reward})
        if passed > seconds:
            break
    rate = curve[-1]["iterations"] / curve[-1]["seconds"]
    return {
        "compile_seconds": compiling,
        "iterations_per_second": rate,
        "minutes_per_million": 1e6 / rate / 60,
        "curve": curve,
    }


def with_pallas(config: Config, repeats: int) -> dict[str, Any]:
    """Compare two programs that differ in how the networks are computed; or say why not."""
    pallas_mlp.INTERPRET = jax.default_backend() == "cpu"
    experiment, state = stages.start(config)
    state = state.replace(replay=stages.full(state.replay))
    programs: dict[str, stages.Stage] = {}
    trained: dict[str, Any] = {}
    for name, module in {"pallas": pallas_mlp, "ours": networks}.items():
        # Both have the same parameters.
        with mock.patch.multiple(networks, MLP=module.MLP, Critic=module.Critic):
            nets = networks.make(config, experiment.episodes.env.action_size)
            its = dataclasses.replace(experiment, networks=nets)
            try:
                update, programs[name] = stages.updates(its, state)
            except jax.errors.JaxRuntimeError as error:  # too little shared memory on the chip, say
                return {"refused": str(error)}
        train = jax.tree.map(jnp.copy, state.train)
        trained[name] = jax.device_get(update(train, *stages.batches(experiment, state))[0])
    differences = jax.tree.map(
        lambda a, b: float(np.max(np.abs(a - b), initial=0.0)), trained["pallas"], trained["ours"]
    )
    rates = stages.measure(programs, repeats)
    return {
        "largest_difference": max(jax.tree.leaves(differences)),
        "rate_to_ours": ratio(rates["pallas"], rates["ours"]),
    }


def with_more_options(config: Config, repeats: int) -> dict[str, Any]:
    """Compare gradient updates of programs that differ in XLA's options; or say why not."""
    experiment, state = stages.start(config)
    result: dict[str, Any] = {}
    programs: dict[str, stages.Stage] = {}
    for name, options in {"ours": {}, **OPTIONS}.items():
        try:
            programs[name] = stages.updates(experiment, state, **options)[1]
        except jax.errors.JaxRuntimeError as error:
            result[name] = {"refused": str(error)}
    rates = stages.measure(programs, repeats)
    for name in [*programs][1:]:
        result[name] = {**OPTIONS[name], "rate_to_ours": ratio(rates[name], rates["ours"])}
    return result


def in_turns(
    programs: dict[str, Any], states: dict[str, Any], iterations: int, repeats: int
) -> dict[str, list[float]]:
    """Return iterations per second of epochs, which move `states`, after a first turn."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            states[name], _ = jax.block_until_ready(program(states[name]))
            rates[name].append(iterations / (time.perf_counter() - started))
    return {name: values[1:] for name, values in rates.items()}


def with_and_without_options(config: Config, repeats: int) -> dict[str, Any]:
    """Compare epochs of two programs that differ in `compile.options` alone."""
    experiment, state = stages.start(config)
    lowered = jax.jit(partial(epoch_lib.epoch, experiment), donate_argnums=0).lower(state)
    programs = {"with": lowered.compile(compile.options()), "without": lowered.compile()}
    states = {name: jax.tree.map(jnp.copy, state) for name in programs}
    rates = in_turns(programs, states, config.epoch_iterations, repeats)
    pairs = zip(*(jax.tree.leaves(jax.device_get(state)) for state in states.values()), strict=True)
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    return {
        "same_state": same,
        "rate_with_to_without": ratio(rates["with"], rates["without"]),
    }


def with_warp(config: Config, repeats: int) -> dict[str, Any]:
    """Compare epochs on MJX-Warp in each graph mode with MJX in JAX; or say why not."""
    modes = {mode: {"impl": "warp", "env_options": {"graph_mode": mode}} for mode in GRAPH_MODES}
    programs, states, result = {}, {}, {}
    for name, how in {"jax": {"impl": "jax"}, **modes}.items():
        try:
            experiment, states[name] = stages.start(config.model_copy(update=how))
            epoch = partial(epoch_lib.epoch, experiment)
            programs[name] = stages.compiled(epoch, states[name])
        except (UsageError, jax.errors.JaxRuntimeError) as error:
            result[name] = {"refused": str(error)}
    rates = in_turns(programs, states, config.epoch_iterations, repeats)
    for name in programs:
        result[name] = {"iterations_per_second": rates[name]}
        if name != "jax" and "jax" in programs:
            result[name]["rate_to_jax"] = ratio(rates[name], rates["jax"])
    return result


def main() -> None:
    """Run the parts and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--seconds", type=float, default=360, help="after which no part is begun")
    parser.add_argument("--iterations", type=int, default=1_000_000, help="of training")
    help_of_epoch = "iterations per timed epoch; few where there is no GPU, to try this"
    parser.add_argument("--epoch", type=int, default=12_800, help=help_of_epoch)
    parser.add_argument("--many", type=int, default=1024, help="environments, where many")
    parser.add_argument("--parts", nargs="+", help="only these")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    started = time.perf_counter()

    def config(num_envs: int, **more: Any) -> Config:
        n = max(args.epoch, 2 * num_envs)
        given = {"env": args.env, "num_envs": num_envs, "log_interval": n, "warm_up_steps": n}
        return loader.config_class(more.get("algorithm", "sac"))(**{**given, **more})

    def cheetah(**more: Any) -> Config:
        learning = {"updates_per_iteration": 2 / args.many, "batch_size": 2048}
        return config(args.many, env="playground/CheetahRun", **learning, **more)

    def with_brax(config: Config) -> dict[str, Any]:
        return stages.run(config, args.repeats, peers.load(["brax"], config, args.repeats, None))

    def at_full_precision() -> dict[str, Any]:
        result = stages.run(config(128, matmul_precision="highest"), args.repeats)
        return result["stages"]["update"]

    parts: dict[str, Callable[[], Any]] = {
        "training": lambda: training(config(128, iterations=args.iterations), args.seconds / 3),
        "bench": lambda: with_brax(config(128)),
        "many_envs": lambda: stages.run(config(args.many), args.repeats),
        "flashsac": lambda: training(
            cheetah(algorithm="flashsac", iterations=100 * args.many, buffer_size=10_000_000),
            args.seconds / 6,
        ),
        "precision": at_full_precision,
        "pallas": lambda: with_pallas(config(128, buffer_size=100_000), args.repeats),
        "xla": lambda: with_more_options(config(128, buffer_size=100_000), args.repeats),
        "options": lambda: with_and_without_options(config(128), args.repeats),
        "warp": lambda: with_warp(cheetah(), args.repeats),
    }
    result: dict[str, Any] = {"benchmark": "gpu", "env": args.env}
    for name in args.parts or parts:
        part = parts[name]
        if time.perf_counter() - started < args.seconds:
            result[name] = part()
            common.write(result, args.json)


if __name__ == "__main__":
    main()
