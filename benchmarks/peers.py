"""Other people's trainers and buffers, made to take turns with ours.

`mjx-sac bench --peers brax,sbx,sb3,flashbax` calls `load`.
"""

import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac import envs
from mjx_sac.bench import stages
from mjx_sac.bench.stages import Peers, Stage
from mjx_sac.config import Config, UsageError, nearest


def load(names: list[str], config: Config, repeats: int, python: str | None) -> Peers:
    """Return the stages of peers, at the settings of `config`.

    Args:
      names: of peers.
      config: ours.
      repeats: how often each will be timed.
      python: the interpreter that has SBX and Stable-Baselines3; None for this one.
    """
    env, num_envs, iterations = config.env, config.num_envs, config.epoch_iterations

    def trainer(name: str, turn: Callable[[], float]) -> Peers:
        return {name: ("epoch", Stage("iterations", iterations, turn))}

    def other_python(name: str) -> Peers:
        turn, _ = stable_baselines(name, python or sys.executable, env, num_envs, iterations)
        return trainer(name, turn)

    makers: dict[str, Callable[[], Peers]] = {
        "brax": lambda: trainer("brax", brax(config, repeats)),
        "sbx": partial(other_python, "sbx"),
        "sb3": partial(other_python, "sb3"),
        "flashbax": lambda: flashbax(config),
    }
    for name in names:
        if name not in makers:
            raise UsageError(
                f"peers = {name!r}: no such peer{nearest(name, list(makers))}; "
                f"there are {', '.join(makers)}"
            )
    return {stage: pair for name in names for stage, pair in makers[name]().items()}


def brax(config: Config, repeats: int) -> Callable[[], float]:
    """Return what runs an epoch of Brax's SAC and returns iterations/s.

    Its trainer runs in a thread and waits in its progress callback while it is not its turn.
    """
    import brax_sac

    go, done = threading.Semaphore(0), threading.Semaphore(0)
    rates = [0.0]
    turns, iterations = repeats + 4, config.epoch_iterations

    def progress(_: int, metrics: dict[str, Any]) -> None:
        # The training epoch's, without the evaluation.
        rates.append(float(metrics.get("training/sps", 0.0)))
        done.release()
        go.acquire()

    def train() -> None:
        go.acquire()
        brax_sac.run_sac(config, iterations * turns, turns - 1, 1, progress, prefill=iterations)

    threading.Thread(target=train, daemon=True).start()

    def turn() -> float:
        go.release()
        done.acquire()
        return rates[-1]

    turn()  # compiles, evaluates once, and waits before its prefill
    turn()  # prefill and the first epoch, which compiles
    return turn


def stable_baselines(
    name: str, python: str, env: str, num_envs: int, iterations: int
) -> tuple[Callable[[], float], dict[str, Any]]:
    """Return what trains a peer's SAC and returns iterations/s, and the versions of its packages.

    The peer is SBX, or Stable-Baselines3 by the name `sb3`. It needs torch, and so a process with
    another Python. It has warmed up when this returns.
    """
    script = pathlib.Path(__file__).parent / "sbx_sac.py"
    flags = f"--serve --env {env} --num_envs {num_envs} --warm_up_steps {iterations}"
    flags += " --torch" * (name == "sb3")
    command = [python, str(script), *flags.split()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def train(steps: int) -> dict[str, Any]:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):
            raise UsageError(
                f"peers = {name!r}: {python} cannot run it on {env!r} (its message is above): it "
                f"wants a Gymnasium id such as Ant-v5, and --peer_python one that has sbx-rl; "
                f"benchmarks/sbx_sac.py says how to make it"
            ) from None

    versions = train(iterations + 10 * num_envs)["versions"]
    return lambda: iterations / train(iterations)["seconds"], versions


def flashbax(config: Config) -> Peers:
    """Return inserts into Flashbax's flat buffer, and draws from it, full, in loops like ours.

    It keeps each observation once too, but knows no final ones.
    """
    try:
        import flashbax as fbx
    except ImportError:
        raise UsageError("peers = 'flashbax': not installed: add the extra `peers`") from None
    env = envs.make(config.env, config)
    n, draws = config.num_envs, config.updates_per_vector_step * config.batch_size
    buffer = fbx.make_flat_buffer(config.buffer_size, 1, draws, add_batch_size=n)
    row = {
        "observation": jnp.ones((n, env.observation_size)),
        "action": jnp.ones((n, env.action_size)),
        "reward": jnp.ones(n),
        "discount": jnp.ones(n),
    }
    state = buffer.init(jax.tree.map(lambda x: x[0], row))
    key = jax.random.PRNGKey(0)
    full = jax.tree.map(lambda x: jax.random.normal(key, x.shape), state.experience)
    state = state.replace(experience=full, is_full=jnp.array(True))

    def insert(state: Any, row: Any) -> Any:
        return buffer.add(state, row), None

    def sample(carry: Any) -> Any:
        state, key = carry
        key, draw = jax.random.split(key)
        pairs = buffer.sample(state, draw).experience
        return (state, key), jax.tree.map(jnp.sum, pairs)  # what nobody reads is not drawn

    unit, steps, turns = "transitions", stages.REPLAY_STEPS, stages.REPLAY_DRAWS
    inserting = stages.stage(insert, state, unit, n, row, length=steps)
    sampling = stages.stage(sample, (state, key), unit, draws, length=turns)
    return {
        "flashbax_insert": ("replay_insert", inserting),
        "flashbax_sample": ("replay_sample", sampling),
    }
