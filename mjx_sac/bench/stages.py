"""What each part of an epoch costs, and how near gradient steps come to what the device can do. `mjx-sac bench` prints it.

Every stage is a program of its own: compiled, warmed up, blocked on, and timed in turn with the others, so that whatever else
the machine does hits all alike.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import Array

from mjx_sac import envs, networks
from mjx_sac.bench import roofline
from mjx_sac.config import Config
from mjx_sac.envs.base import spaces
from mjx_sac.losses import Losses
from mjx_sac.runs.checkpoint import Checkpoints, restore
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.compiled import evaluate as evaluate_lib
from mjx_sac.training.compiled import replay, sharding
from mjx_sac.training.compiled.epoch import Experiment, RunState
from mjx_sac.training.compiled.replay import ReplayState
from mjx_sac.training.host import compile, hlo, monitor
from mjx_sac.types import Transition

_SECONDS = 0.3
"""What one timing lasts at least, in as many calls as that takes."""

REPLAY_STEPS, REPLAY_DRAWS = 64, 8
"""Inserts, and draws of all batches of a vector step, in one call."""


class Stage(NamedTuple):
    """Something to time.

    Attributes:
      unit: what there are `amount` of in one call.
      call: does it once and waits for the device. A peer, which may evaluate too, times itself and returns a rate.
    """

    unit: str
    amount: float
    call: Callable[[], float | None]


def run(
    config: Config, repeats: int = 5, peers: Mapping[str, tuple[str, Stage]] | None = None
) -> dict[str, Any]:
    """Times everything.

    Args:
      config: what to train; its first epoch must be all warm-up (`warm_up_steps` equal to `log_interval`).
      repeats: timings of each stage.
      peers: stages of others, each with the name of ours that does the same.

    Returns:
      Plain numbers, strings, lists and dicts, for JSON.
    """
    env = envs.make(config.env, config)
    experiment = epoch_lib.make_experiment(
        config, env, networks.make(config, env.action_size), Losses()
    )
    state = jax.jit(partial(epoch_lib.init, experiment))(jax.random.PRNGKey(config.seed))
    epoch, compiling = compile_epoch(experiment, state)
    state = epoch(state)[0]  # the warm-up
    stages = {"epoch": _going_round(epoch, state, "iterations", config.epoch_iterations)}
    if not experiment.episodes.on_host:
        stages |= {
            "environment": _environment(experiment, state),
            "evaluation": _evaluation(experiment, state),
        }
    stages |= _replay(experiment, state.replay)
    update, stages["update"] = updates(experiment, state)
    n = config.hidden_sizes[-1]
    stages |= {"matmul": _matmul(2048, 2048), "matmul_of_a_layer": _matmul(config.batch_size, n)}
    peers = peers or {}
    rates, timings = measure(stages | {name: stage for name, (_, stage) in peers.items()}, repeats)
    result: dict[str, Any] = {
        "settings": config.model_dump(mode="json"),
        "stages": rates,
        "share_of_an_epoch": _shares(config, rates),
        "roofline": roofline.roofline(config, env.observation_size, env.action_size, rates),
        "replay_bytes_per_transition": sum(x.nbytes for x in jax.tree.leaves(state.replay))
        / config.buffer_size,
        "compile_seconds": compiling,
        "checkpoint": _checkpoint(experiment, state, repeats),
        "host_seconds_per_epoch": _host_seconds(config, state, epoch, repeats),
        "peak_memory_bytes": _peak_memory(),
        "ratios": {
            f"{ours}_to_{name}": ratio(timings[ours], timings[name])
            for name, (ours, _) in peers.items()
        },
    }
    if jax.default_backend() != "cpu":  # a CPU launches nothing
        result["launches_per_update"] = round(
            hlo.count_launches(update.as_text()).launches / stages["update"].amount, 1
        )
    return result


def measure(
    stages: Mapping[str, Stage], repeats: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Takes turns. Returns the spread of each stage's rate per second, and the rates themselves."""
    calls: dict[str, int] = {}
    for name, stage in stages.items():
        stage.call()
        started = time.perf_counter()
        itself = stage.call()
        calls[name] = 1 if itself else max(1, round(_SECONDS / (time.perf_counter() - started)))
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for turn in range(repeats):
        for name in list(stages)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            itself = [stages[name].call() for _ in range(calls[name])][-1]
            seconds = time.perf_counter() - started
            rates[name].append(itself or stages[name].amount * calls[name] / seconds)
    return {
        name: {"unit": f"{stages[name].unit}/s", **spread(values)} for name, values in rates.items()
    }, rates


def compile_epoch(experiment: Experiment, state: RunState) -> tuple[Any, dict[str, float]]:
    """The compiled epoch, and what tracing and compiling it took with an empty cache and with one that has it."""
    seconds: dict[str, float] = {}
    before = jax.config.values["jax_compilation_cache_dir"]
    with tempfile.TemporaryDirectory() as directory:
        jax.config.update("jax_compilation_cache_dir", directory)
        for kind in ("cold", "warm"):
            jax.clear_caches()
            compilation_cache.reset_cache()
            started = time.perf_counter()
            lowered = jax.jit(partial(epoch_lib.epoch, experiment), donate_argnums=0).lower(state)
            seconds[f"trace_{kind}"] = time.perf_counter() - started
            compiled = lowered.compile(compile.options())
            seconds[f"total_{kind}"] = time.perf_counter() - started
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()
    return compiled, seconds


def stage(function: Any, state: Any, unit: str, amount: float, *rest: Any) -> Stage:
    """Compiles `(state, *rest) -> (state, more)` to donate its state, which goes round from call to call."""
    compiled = jax.jit(function, donate_argnums=0).lower(state, *rest).compile(compile.options())
    return _going_round(compiled, state, unit, amount, *rest)


def _going_round(compiled: Any, state: Any, unit: str, amount: float, *rest: Any) -> Stage:
    holder = [jax.tree.map(jnp.copy, state)]

    def call() -> None:
        holder[0], _ = jax.block_until_ready(compiled(holder[0], *rest))

    return Stage(unit, amount, call)


def _environment(experiment: Experiment, state: RunState) -> Stage:
    """Vector steps with random actions, new episodes included."""
    n, steps = experiment.config.num_envs, 64

    def rollout(carry: Any, _: None) -> Any:
        def step(carry: Any, _: None) -> Any:
            episodes, key = carry
            key, draw = jax.random.split(key)
            action = jax.random.uniform(draw, (n, experiment.episodes.env.action_size), minval=-1.0)
            return (
                experiment.episodes.step(experiment.episodes.start(episodes), action)[0],
                key,
            ), None

        return jax.lax.scan(step, carry, None, length=steps)

    carry = (state.episodes, jax.random.PRNGKey(0))
    return stage(rollout, carry, "steps", n * steps, None)


def _evaluation(experiment: Experiment, state: RunState) -> Stage:
    episodes = max(experiment.config.episodes_per_eval, 1)

    def evaluate(key: Any, actor_params: Any, stats: Any) -> Any:
        key, draw = jax.random.split(key)
        return key, evaluate_lib.evaluate(experiment, actor_params, stats, draw, episodes=episodes)

    args = (jax.random.PRNGKey(0), state.train.actor_params, state.normalizer)
    return stage(evaluate, args[0], "episodes", episodes, *args[1:])


def _replay(experiment: Experiment, state: ReplayState) -> dict[str, Stage]:
    """A full buffer of random numbers: pages of zeros that were never written are faster than real ones."""
    config = experiment.config
    filled = full(state)
    row = replay.sample(filled, jax.random.PRNGKey(0), (config.num_envs,), config.discount)
    shape = (config.updates_per_vector_step, config.batch_size)
    no, yes = jnp.zeros(config.num_envs, bool), jnp.ones(config.num_envs, bool)

    def insert(state: ReplayState, row: Any) -> Any:
        return jax.lax.scan(
            lambda s, _: (replay.insert(s, row, no, yes), None), state, None, length=REPLAY_STEPS
        )

    def sample(carry: Any, _: None) -> Any:
        def once(carry: Any, _: None) -> Any:
            state, key = carry
            key, draw = jax.random.split(key)
            batches = replay.sample(state, draw, shape, config.discount)
            return (state, key), jax.tree.map(
                lambda x: jnp.sum(x[..., 0]), jax.lax.optimization_barrier(batches)
            )

        return jax.lax.scan(once, carry, None, length=REPLAY_DRAWS)

    carry = (filled, jax.random.PRNGKey(0))
    return {
        "replay_insert": stage(insert, filled, "transitions", REPLAY_STEPS * config.num_envs, row),
        "replay_sample": stage(
            sample, carry, "transitions", REPLAY_DRAWS * shape[0] * shape[1], None
        ),
    }


def full(state: ReplayState) -> ReplayState:
    """The same buffer after one endless episode."""
    slots, n = state.row.shape
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    arrays = (state.observation, state.action, state.reward)
    observation, action, reward = (
        jax.random.normal(key, x.shape) for key, x in zip(keys, arrays, strict=True)
    )
    return state.replace(
        observation=observation,
        action=action,
        reward=reward,
        row=jnp.tile(jnp.arange(slots, dtype=jnp.int32)[:, None], (1, n)),
        head=jnp.full(n, slots, jnp.int32),
        size=jnp.full(n, slots, jnp.int32),
    )


def updates(
    experiment: Experiment, state: RunState, options: Mapping[str, Any] | None = None
) -> tuple[Any, Stage]:
    """The gradient steps of a vector step, or 16 if those are fewer, compiled with XLA's `options` beside ours; and their stage."""
    args = batches(experiment, state)
    lowered = jax.jit(partial(epoch_lib.run_updates, experiment), donate_argnums=0).lower(
        state.train, *args
    )
    compiled = lowered.compile({**compile.options(), **(options or {})})
    return compiled, _going_round(compiled, state.train, "updates", len(args[1]), *args)


def batches(experiment: Experiment, state: RunState) -> tuple[Transition, Array]:
    """What `updates` learns from: batches, and keys for as many gradient steps."""
    n = max(experiment.config.updates_per_vector_step, 16)
    rows = replay.sample(
        state.replay,
        jax.random.PRNGKey(0),
        (n, experiment.config.batch_size),
        experiment.config.discount,
    )
    return rows, jax.random.split(jax.random.PRNGKey(0), (n, 2))


def _matmul(rows: int, width: int) -> Stage:
    """Dense products one after another, [rows, width] by [width, width]: in billions of floating-point operations."""
    n = max(1, round(2e10 / (2 * rows * width**2)))
    matrix = jnp.eye(width) * 0.9

    def products(x: jax.Array, matrix: jax.Array) -> Any:
        return jax.lax.scan(lambda x, _: (x @ matrix, None), x, None, length=n)

    args = (jnp.ones((rows, width)), matrix)
    return stage(products, args[0], "GFLOP", n * 2e-9 * rows * width**2, matrix)


def _shares(config: Config, rates: dict[str, Any]) -> dict[str, float]:
    """Of an epoch's time, estimated from the stages alone; "rest" is what only the whole does: actions, normalizer, metrics."""

    def seconds(stage: str, amount: float) -> float:
        return amount / rates[stage]["median"] if stage in rates else 0.0

    n, updates = config.num_envs, config.updates_per_vector_step
    parts = {
        "environment": seconds("environment", n),
        "replay": seconds("replay_insert", n)
        + seconds("replay_sample", updates * config.batch_size),
        "updates": seconds("update", updates),
    }
    total = seconds("epoch", n)
    shares = {name: part / total for name, part in parts.items()}
    return {**shares, "rest": 1.0 - sum(shares.values())}


def _checkpoint(experiment: Experiment, state: RunState, repeats: int) -> dict[str, Any]:
    """Of the state after warm-up. A run's later ones share files with those before; `checkpoint/...` in its curves says so."""
    saving: list[float] = []
    loading: list[float] = []
    size = 0.0
    for i in range(repeats):
        with tempfile.TemporaryDirectory() as directory:
            header = {
                "config": experiment.config.model_dump(mode="json"),
                "spaces": spaces(experiment.episodes.env),
            }
            checkpoints = Checkpoints(
                Path(directory), experiment.config.max_to_keep, header, fetch=sharding.fetch
            )
            started = time.perf_counter()
            checkpoints.save(
                i + 1, {"state": state, "policy": (state.train.actor_params, state.normalizer)}
            )
            checkpoints.wait()
            saving.append(time.perf_counter() - started)
            size = checkpoints.cost["checkpoint/bytes"]
            started = time.perf_counter()
            like = jax.eval_shape(lambda: state)
            jax.block_until_ready(
                restore(Path(directory), i + 1, like, lambda _, x: sharding.place(x, None))
            )
            loading.append(time.perf_counter() - started)
            checkpoints.close()
    return {"bytes": size, "save_seconds": spread(saving), "load_seconds": spread(loading)}


def _host_seconds(config: Config, state: RunState, epoch: Any, repeats: int) -> dict[str, float]:
    """What the host does after an epoch, with the device waiting: metrics fetched, checked and logged."""
    metrics = jax.block_until_ready(epoch(jax.tree.map(jnp.copy, state))[1])
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        logger = EventWriter(Path(directory), 0, print)
        for i in range(repeats):
            started = time.perf_counter()
            logger.log(
                i, monitor.scalars(jax.device_get(metrics), config, config.warm_up_steps, 1.0)
            )
            seconds.append(time.perf_counter() - started)
        logger.close()
    return spread(seconds)


def _peak_memory() -> float:
    """Of the device, or of the process where that is the same."""
    stats: Any = jax.devices()[0].memory_stats() or {}
    return float(
        stats.get("peak_bytes_in_use", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    )


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """`spread` of ours / theirs, turn by turn."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])
