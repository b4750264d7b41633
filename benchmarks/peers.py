"""Other people's trainers and buffers, made to take turns with ours: `mjx-sac bench --peers brax,sbx,flashbax` calls `load`."""

import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac import envs
from mjx_sac.bench import stages
from mjx_sac.bench.stages import Stage
from mjx_sac.config import Config, UsageError, nearest


def load(
    names: list[str], config: Config, repeats: int, python: str | None
) -> dict[str, tuple[str, Stage]]:
    """The stages of the peers asked for, at the settings of `config`, each with the name of our stage that does the same."""
    makers: dict[str, Callable[[], dict[str, tuple[str, Stage]]]] = {
        "brax": lambda: trainer(
            config, "brax", brax(config.env, config.num_envs, config.epoch_iterations, repeats)
        ),
        "sbx": lambda: trainer(
            config,
            "sbx",
            sbx(python or sys.executable, config.env, config.num_envs, config.epoch_iterations)[0],
        ),
        "flashbax": lambda: flashbax(config),
    }
    for name in names:
        if name not in makers:
            raise UsageError(
                f"peers = {name!r}: no such peer{nearest(name, list(makers))}; there are {', '.join(makers)}"
            )
    return {stage: pair for name in names for stage, pair in makers[name]().items()}


def trainer(config: Config, name: str, turn: Callable[[], float]) -> dict[str, tuple[str, Stage]]:
    """A trainer's turn of as many iterations as an epoch of ours has."""
    return {name: ("epoch", Stage("iterations", config.epoch_iterations, turn))}


def brax(env: str, num_envs: int, iterations: int, repeats: int) -> Callable[[], float]:
    """Brax's SAC. Its trainer runs in a thread of its own and waits in its progress callback while it is not its turn."""
    import brax_sac

    go, done = threading.Semaphore(0), threading.Semaphore(0)
    rates = [0.0]
    turns = repeats + 4

    def progress(_: int, metrics: dict[str, Any]) -> None:
        rates.append(
            float(metrics.get("training/sps", 0.0))
        )  # of the training epoch alone, without the evaluation
        done.release()
        go.acquire()

    def train() -> None:
        go.acquire()
        brax_sac.run_sac(
            env, 0, iterations * turns, num_envs, turns - 1, 1, progress, prefill=iterations
        )

    threading.Thread(target=train, daemon=True).start()

    def turn() -> float:
        go.release()
        done.acquire()
        return rates[-1]

    turn()  # compiles, evaluates once, and waits before its prefill
    turn()  # prefill and the first epoch, which compiles
    return turn


def sbx(
    python: str, env: str, num_envs: int, iterations: int
) -> tuple[Callable[[], float], dict[str, Any]]:
    """SBX's SAC, in a process of its own because it needs torch, and its versions. It has warmed up when this returns."""
    script = pathlib.Path(__file__).parent / "sbx_sac.py"
    command = [
        python,
        str(script),
        "--serve",
        "--env",
        env,
        "--num_envs",
        str(num_envs),
        "--warm_up_steps",
        str(iterations),
    ]
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
                f"peers = 'sbx': {python} cannot run it on {env!r} (its message is above): it wants a Gymnasium id such as "
                f"Ant-v5, and --peer_python one that has sbx-rl; benchmarks/sbx_sac.py says how to make it"
            ) from None

    versions = train(iterations + 10 * num_envs)["versions"]
    return lambda: iterations / train(iterations)["seconds"], versions


def flashbax(config: Config) -> dict[str, tuple[str, Stage]]:
    """Flashbax's flat buffer, which keeps each observation once too but knows no final ones, full, in loops like ours."""
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
    }
    row |= {"reward": jnp.ones(n), "discount": jnp.ones(n)}
    state = buffer.init(jax.tree.map(lambda x: x[0], row))
    experience = jax.tree.map(
        lambda x: jax.random.normal(jax.random.PRNGKey(0), x.shape), state.experience
    )
    state = state.replace(experience=experience, is_full=jnp.array(True))

    def insert(state: Any, row: Any) -> Any:
        return jax.lax.scan(
            lambda s, _: (buffer.add(s, row), None), state, None, length=stages.REPLAY_STEPS
        )

    def sample(carry: Any, _: None) -> Any:
        def once(carry: Any, _: None) -> Any:
            state, key = carry
            key, draw = jax.random.split(key)
            pairs = jax.lax.optimization_barrier(buffer.sample(state, draw).experience)
            return (state, key), jax.tree.map(lambda x: jnp.sum(x.reshape(draws, -1)[:, 0]), pairs)

        return jax.lax.scan(once, carry, None, length=stages.REPLAY_DRAWS)

    carry = (state, jax.random.PRNGKey(0))
    adding = stages.stage(insert, state, "transitions", stages.REPLAY_STEPS * n, row)
    return {
        "flashbax_insert": ("replay_insert", adding),
        "flashbax_sample": (
            "replay_sample",
            stages.stage(sample, carry, "transitions", stages.REPLAY_DRAWS * draws, None),
        ),
    }
