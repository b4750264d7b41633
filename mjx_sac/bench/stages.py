"""What each part of an epoch costs, and how near gradient steps come to what the device can do.

Every stage is a program by itself: compiled, warmed up, blocked on, and timed in turn with the
others, so that whatever else the machine does hits all alike.
"""

import dataclasses
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.bench import host
from mjx_sac.bench.roofline import count_flops, roofline
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import Config
from mjx_sac.networks import products
from mjx_sac.training.compiled import batches as batches_lib
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.compiled import evaluate as evaluate_lib
from mjx_sac.training.compiled import replay
from mjx_sac.training.compiled import updates as updates_lib
from mjx_sac.training.compiled.experiment import Experiment, RunState, make_experiment
from mjx_sac.training.compiled.replay import ReplayState
from mjx_sac.training.host import compile, device, hlo
from mjx_sac.types import Step, Transition

SECONDS = 0.3
"""How long one timing takes at least: a stage is called as often as that needs."""

EPOCH_FLOPS = 1e12
"""How much the gradient steps of an epoch compute at most, unless its length was asked for: some
seconds on a CPU.
"""

REPLAY_STEPS, REPLAY_DRAWS = 64, 8
"""Inserts, and draws of all batches of a vector step, in one call."""


class Stage(NamedTuple):
    """Something to time: a call does `amount` of `unit` and waits for the device.

    A peer's trainer, which may evaluate too, times itself and returns its rate per second.
    """

    unit: str
    amount: float
    call: Callable[[], float | None]


Peers = Mapping[str, tuple[str, Stage]]
"""Stages of others, each with the name of ours that does the same."""


def run(
    config: Config, repeats: int = 5, peers: Peers | None = None, shorten: bool = False
) -> dict[str, Any]:
    """Time everything, each stage `repeats` times, with `peers` beside it.

    An epoch has `log_interval` iterations, or fewer if it is to be `shorten`ed. What is returned is
    for JSON.
    """
    experiment, state = start(config)
    flops = count_flops(experiment, state.train, *batches(experiment, state))
    if shorten:
        config = shorter(config, flops)
        experiment = dataclasses.replace(experiment, config=config)
    epoch, compile_seconds = compile_epoch(experiment, state)
    while state.warm_up_left > 0:
        state = epoch(state)[0]
    update, update_stage = updates(experiment, state)
    layers = jax.tree.leaves(state.train.critic_params)
    widest = max(x.shape[-1] for x in layers if x.ndim > 1)
    stages = {
        "epoch": _cycle(epoch, state, "iterations", config.epoch_iterations),
        **({} if experiment.episodes.on_host else _environment(experiment, state)),
        **_replay(experiment, state.replay),
        "update": update_stage,
        "matmul": _matmul(2048, 2048, config),
        "matmul_of_a_layer": _matmul(config.batch_size, widest, config),
        **{name: stage for name, (_, stage) in (peers or {}).items()},
    }
    rates = measure(stages, repeats)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    logging, saving = host.logging(config, state, epoch, repeats), host.checkpoint(state, repeats)
    replay_bytes = sum(x.nbytes for x in jax.tree.leaves(state.replay))
    result = {
        "settings": config.model_dump(mode="json"),
        "stages": {
            name: {"unit": f"{stages[name].unit}/s", **spread(values)}
            for name, values in rates.items()
        },
        "share_of_an_epoch": _shares(config, medians),
        "roofline": roofline(flops, medians),
        "replay_bytes_per_transition": replay_bytes / config.buffer_size,
        "compile_seconds": compile_seconds,
        "share_of_a_run": host.shares(config, medians, logging, saving),
        "checkpoint": saving,
        "host_seconds_per_epoch": logging,
        "peak_memory_bytes": _peak_memory(),
        "ratios": {
            f"{ours}_to_{name}": ratio(rates[ours], rates[name])
            for name, (ours, _) in (peers or {}).items()
        },
    }
    if jax.default_backend() != "cpu":  # a CPU launches nothing
        launches = hlo.count_launches(update.as_text()).launches
        result["launches_per_update"] = round(launches / update_stage.amount, 1)
    return result


def shorter(config: Config, flops: float) -> Config:
    """Return the configuration with epochs of `EPOCH_FLOPS` if theirs have more; a gradient step
    has `flops`, NaN where that is not known.
    """
    each = flops * config.updates_per_iteration
    if not each * config.epoch_iterations > EPOCH_FLOPS:
        return config
    return config.model_copy(update={"log_interval": max(1, int(EPOCH_FLOPS / each))})


def start(config: Config) -> tuple[Experiment, RunState]:
    """Return the algorithm on the configured environment, before the first vector step."""
    env, algorithm = envs.make(config.env, config), loader.load(config)
    nets = algorithm.networks(config, env.action_size)
    experiment = make_experiment(config, env, nets, algorithm)
    return experiment, jax.jit(partial(epoch_lib.init, experiment))(jax.random.PRNGKey(config.seed))


def measure(
    stages: Mapping[str, Stage], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Time the stages in turns; return the rates of each, per second."""
    calls: dict[str, int] = {}
    for name, stage in stages.items():
        stage.call()
        started = clock()
        times_itself = stage.call()
        calls[name] = 1 if times_itself else max(1, round(SECONDS / (clock() - started)))
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for turn in range(repeats):
        for name in list(stages)[:: 1 if turn % 2 else -1]:
            started = clock()
            rate = [stages[name].call() for _ in range(calls[name])][-1]
            rates[name].append(rate or stages[name].amount * calls[name] / (clock() - started))
    return rates


def compile_epoch(experiment: Experiment, state: RunState) -> tuple[Any, dict[str, float]]:
    """Return the compiled epoch and the seconds it took, with an empty cache and a warm one."""
    seconds: dict[str, float] = {}
    before = jax.config.values["jax_compilation_cache_dir"]
    with tempfile.TemporaryDirectory() as directory:
        device.keep_programs_in(directory)
        for kind in ("cold", "warm"):
            jax.clear_caches()
            started = time.perf_counter()
            lowered = jax.jit(partial(epoch_lib.epoch, experiment), donate_argnums=0).lower(state)
            seconds[f"trace_{kind}"] = time.perf_counter() - started
            compiled = lowered.compile(compile.options(calls_host=experiment.episodes.on_host))
            seconds[f"total_{kind}"] = time.perf_counter() - started
        device.keep_programs_in(before)
    return compiled, seconds


def compiled(function: Any, *args: Any, **options: Any) -> Any:
    """Compile as training compiles its epoch, donating the first argument; XLA's options on top."""
    lowered = jax.jit(function, donate_argnums=0).lower(*args)
    return lowered.compile({**compile.options(), **options})


def stage(step: Any, state: Any, unit: str, amount: float, *rest: Any, length: int = 1) -> Stage:
    """Return `length` steps `(state, *rest) -> (state, outputs)`, of `amount` each, as one call."""

    def steps(state: Any, *rest: Any) -> Any:
        return jax.lax.scan(lambda state, _: step(state, *rest), state, None, length=length)

    return _cycle(compiled(steps, state, *rest), state, unit, length * amount, *rest)


def _cycle(compiled: Any, state: Any, unit: str, amount: float, *rest: Any) -> Stage:
    """Return a stage whose state goes from call to call."""
    holder = [jax.tree.map(jnp.copy, state)]

    def call() -> None:
        holder[0], _ = jax.block_until_ready(compiled(holder[0], *rest))

    return Stage(unit, amount, call)


def _environment(experiment: Experiment, state: RunState) -> dict[str, Stage]:
    """Vector steps with random actions, new episodes included; and an evaluation of episodes that
    last, as those of a trained policy do.
    """
    config, envs = experiment.config, experiment.episodes
    episodes = max(config.episodes_per_eval, 1)

    def step(carry: Any) -> Any:
        state, key = carry
        key, draw = jax.random.split(key)
        action = jax.random.uniform(draw, (config.num_envs, envs.env.action_size), minval=-1.0)
        return (envs.step(envs.start(state), action)[0], key), None

    def evaluate(key: Any, actor_params: Any, stats: Any) -> Any:
        key, draw = jax.random.split(key)
        how: dict[str, Any] = {"episodes": episodes, "until_over": False}
        return key, evaluate_lib.evaluate(experiment, actor_params, stats, draw, **how)

    key, policy = jax.random.PRNGKey(0), (state.train.actor, state.normalizer)
    return {
        "environment": stage(step, (state.episodes, key), "steps", config.num_envs, length=64),
        "evaluation": stage(evaluate, key, "episodes", episodes, *policy),
    }


def _replay(experiment: Experiment, state: ReplayState) -> dict[str, Stage]:
    """Inserts into a full buffer, and draws from it."""
    config, filled, key = experiment.config, full(state), jax.random.PRNGKey(0)
    n, shape = config.num_envs, (config.updates_per_vector_step, config.batch_size)
    no, yes = jnp.zeros(n, bool), jnp.ones(n, bool)
    row = replay.sample(filled, key, (n,), config.discount)
    acted, step = row[:2], Step(row.next_observation, row.reward, no, no)

    def insert(state: ReplayState, acted: tuple[Array, Array], step: Step) -> Any:
        return replay.insert(state, *acted, step, no, yes, config.history), None

    def sample(carry: Any) -> Any:
        state, key = carry
        key, draw = jax.random.split(key)
        drawn = replay.sample(state, draw, shape, config.discount, config.n_step, config.history)
        return (state, key), jax.tree.map(jnp.sum, drawn)  # what nobody reads is not drawn

    unit, drawn = "transitions", shape[0] * shape[1]
    return {
        "replay_insert": stage(insert, filled, unit, n, acted, step, length=REPLAY_STEPS),
        "replay_sample": stage(sample, (filled, key), unit, drawn, length=REPLAY_DRAWS),
    }


def full(state: ReplayState) -> ReplayState:
    """Return the buffer after one endless episode of random numbers.

    Pages of zeros that were never written would be faster than real ones.
    """
    slots, n = state.row.shape
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    return state.replace(
        observation=jax.random.normal(keys[0], state.observation.shape),
        action=jax.random.normal(keys[1], state.action.shape),
        reward=jax.random.normal(keys[2], state.reward.shape),
        row=jnp.tile(jnp.arange(slots, dtype=jnp.int32)[:, None], (1, n)),
        head=jnp.full(n, slots, jnp.int32),
        size=jnp.full(n, slots, jnp.int32),
    )


def updates(experiment: Experiment, state: RunState, **options: Any) -> tuple[Any, Stage]:
    """Return the gradient steps of `batches`, `compiled` with XLA's options, and their stage."""
    args = batches(experiment, state)
    program = compiled(partial(updates_lib.run_updates, experiment), state.train, *args, **options)
    return program, _cycle(program, state.train, "updates", len(args[1]), *args)


def batches(experiment: Experiment, state: RunState) -> tuple[Transition, Array]:
    """Return batches and keys for the gradient steps of a vector step, or of several with 16."""
    config, key = experiment.config, jax.random.PRNGKey(0)
    each, period = config.updates_per_vector_step, experiment.algorithm.period(config)
    n = each * -(-16 // each)
    if each % period and n % period == 0:
        n += each  # or they would be laid out in periods, as those of a vector step are not
    how = config.discount, 1, config.history
    rows = replay.sample(state.replay, key, (n, config.batch_size), *how)
    rows = batches_lib.augmented(experiment, rows, key)
    return rows, jax.random.split(key, (n, 2))


def _matmul(rows: int, width: int, config: Config) -> Stage:
    """Products of [rows, width] by [width, width], as precise as those of a gradient step."""

    def multiply(x: Array, matrix: Array) -> tuple[Array, None]:
        with products.precision(config.matmul_precision):
            return products.product(x, kernel=matrix), None

    x, matrix, flops = jnp.ones((rows, width)), jnp.eye(width) * 0.9, 2 * rows * width**2
    length = max(1, min(1_000_000, round(2e10 / flops)))  # tiny ones take a second all the same
    return stage(multiply, x, "GFLOP", 1e-9 * flops, matrix, length=length)


def _shares(config: Config, rates: Mapping[str, float]) -> dict[str, float]:
    """Return shares of an epoch's time, estimated from the stages alone.

    "rest" is what only the whole does: actions, normalizer, metrics.
    """
    n, drawn = config.num_envs, config.updates_per_vector_step * config.batch_size
    seconds = {
        "environment": n / rates.get("environment", math.inf),
        "replay": n / rates["replay_insert"] + drawn / rates["replay_sample"],
        "updates": config.updates_per_iteration * n / rates["update"],
    }
    shares = {name: part * rates["epoch"] / n for name, part in seconds.items()}
    return {**shares, "rest": 1.0 - sum(shares.values())}


def _peak_memory() -> float:
    """Return bytes of the device's memory, or of the process where that is the same."""
    stats: Any = jax.devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return float(stats.get("peak_bytes_in_use", process))
