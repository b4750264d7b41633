"""What `test_sharding.py` asks of eight devices, answered as JSON.

A separate process, because JAX counts its devices once.
"""

import json
import os
import pathlib
import sys

# Eight devices on a few busy cores wait for each other longer than XLA thinks right.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
    "--xla_cpu_collective_timeout_seconds=600 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=600"
)
CACHE = os.environ.get("XDG_CACHE_HOME")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import jax  # noqa: E402
import numpy as np  # noqa: E402

from helpers.algorithms import TINY  # noqa: E402
from helpers.envs import Counter, Heavy  # noqa: E402
from helpers.runs import make_config, make_experiment  # noqa: E402

if CACHE:
    os.environ["XDG_CACHE_HOME"] = CACHE

from mjx_sac.training.compiled import population, sharding  # noqa: E402
from mjx_sac.training.host import hlo, processes  # noqa: E402
from mjx_sac.training.host import train as train_lib  # noqa: E402

SHAPE = {
    "num_envs": 8,
    "batch_size": 16,
    "buffer_size": 256,
    "reset_pool_size": 10,
    "episodes_per_eval": 0,
    "log_interval": 64,
}
RUN = {**SHAPE, "iterations": 256}


def difference(a, b) -> float:
    """The largest difference, relative to the larger number, or to 1."""
    pairs = zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True)
    apart = [
        np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), 1)
        for x, y in (map(np.float64, pair) for pair in pairs)
    ]
    return max(float(np.max(x, initial=0)) for x in apart)


def train(logdir, num_devices=None, env=Counter, **changes):
    config = make_config(**{**RUN, **changes}, logdir=str(logdir), num_devices=num_devices)
    return train_lib.train(config, env=env())


def measured(metrics) -> dict:
    return {k: v for k, v in metrics.items() if not k.startswith(("time/", "checkpoint/"))}


def split(num_devices: int, **changes) -> dict:
    """A compiled epoch: what it does in place, what its devices hold and what they exchange."""
    experiment = make_experiment(**SHAPE, **changes)
    mesh = processes.mesh(make_config(**SHAPE, **changes, num_devices=num_devices))
    shapes = jax.eval_shape(population.init(experiment, mesh))
    compiled = population.lower(experiment, shapes, mesh).compile()
    memory = compiled.memory_analysis()
    return {
        "arguments": memory.argument_size_in_bytes,
        "in_place": memory.alias_size_in_bytes,
        "exchanges": [tuple(each) for each in hlo.count_exchanges(compiled.as_text())],
    }


def windows(shared) -> dict:
    """Batches of three-step returns, drawn from a shared buffer and from it on one device."""
    sample = jax.jit(lambda state: sharding.sample(state, jax.random.PRNGKey(0), (4, 16), 0.9, 3))
    with jax.sharding.use_abstract_mesh(shared.observation.sharding.mesh.abstract_mesh):
        batches = sample(shared)
    return {
        "devices": len(batches.reward.sharding.device_set),
        "apart": difference(sample(jax.device_get(shared)), batches),
        "discounts": sorted({round(float(x), 3) for x in batches.discount.ravel()}),
    }


def flashsac(directory: pathlib.Path) -> dict:
    """How far two devices are from one, and over how many returns rewards are scaled."""
    settings = {
        "algorithm": "flashsac", **TINY["flashsac"], "updates_per_iteration": 0.25,
        "iterations": 128, "q_lr": 3e-4, "policy_lr": 3e-4, "discount": 0.5, "eval_q_bias": True,
        "episodes_per_eval": 2,
    }  # fmt: skip
    results = [train(directory / f"flashsac_{n}", n, **settings) for n in (None, 2)]
    (one, two), metrics = zip(*((result.state, result.metrics) for result in results), strict=True)
    parts = {"train": "train", "scaler": "reward_scaler", "noise": "exploration"}
    return {
        "devices": len(two.key.devices()),
        "variables": difference(one.train.critic_variables, two.train.critic_variables),
        "count": float(two.reward_scaler.stats.count),
        "values": [float(each["eval/q_value"]) for each in metrics],
        **{k: difference(getattr(one, part), getattr(two, part)) for k, part in parts.items()},
    }


def history(directory: pathlib.Path) -> dict:
    """How far two devices are from one with a history and three-step returns, and who remembers."""
    settings = {"history": 3, "n_step": 3, "iterations": 128}
    one, two = (train(directory / f"history_{n}", n, **settings).state for n in (None, 2))
    parts = [part.data.shape for part in two.memory.addressable_shards]
    return {"apart": difference(one, two), "parts": parts}


def randomized(directory: pathlib.Path) -> dict:
    """How far two devices are from one where models differ, and which masses environments saw."""
    settings = {"domain_randomization": "default", "episode_length": 3, "reset_pool_size": 16}
    one, two = (train(directory / f"randomized_{n}", n, Heavy, **settings).state for n in (None, 2))
    masses, seen = two.episodes.model["mass"], two.replay.observation[:, :, 0].T
    return {
        "devices": len(masses.sharding.device_set),
        "apart": difference(one, two),
        "masses": masses.tolist(),
        "seen": [sorted({*mine} - {0.0}) for mine in seen.tolist()],  # 0 where no row is yet
    }


def augmented(directory: pathlib.Path) -> float:
    """How far two devices are from one where every batch is learned from twice, with noise."""
    file = directory / "twice.py"
    file.write_text(
        "import jax, jax.numpy as jnp, mjx_sac\n"
        "losses = mjx_sac.Losses()\n"
        "def augment(batch, key):\n"
        "    noise = jax.random.normal(key, batch.observation.shape)\n"
        "    other = batch._replace(observation=batch.observation + noise)\n"
        "    return jax.tree.map(lambda *rows: jnp.concatenate(rows), batch, other)\n"
    )
    settings = {"algorithm": str(file), "iterations": 128}
    one, two = (train(directory / f"twice_{n}", n, **settings).state for n in (None, 2))
    return difference(one, two)


def recorded(directory: pathlib.Path) -> dict:
    """How far two devices are from one with a data set: alone, in half of each batch, and shared
    by two agents; and what of it each device has.
    """
    kinds = {"offline": {"offline": True}, "halves": {}, "agents": {"num_seeds": 2}}
    found = {}
    for kind, changes in kinds.items():
        settings = {"dataset": f"run:{directory / 'one'}", "iterations": 128, **changes}
        one, two = (train(directory / f"{kind}_{n}", n, **settings).state for n in (None, 2))
        parts = two.dataset.reward.addressable_shards
        found[kind] = {"apart": difference(one, two), "parts": [part.data.shape for part in parts]}
    return found


def main(directory: pathlib.Path) -> dict:
    """All answers."""
    one, eight = train(directory / "one"), train(directory / "eight", 8)
    buffer = eight.state.replay.observation
    # Half on eight devices, the rest on one; and on two.
    train(directory / "down", 8, iterations=128)
    down = train(directory / "down")
    train(directory / "up", iterations=128)
    up = train(directory / "up", 2)
    seeds = {"num_seeds": 4, "num_envs": 3, "batch_size": 5}  # which need not be divisible then
    alone = train(directory / "seeds_one", **seeds)
    shared = train(directory / "seeds_four", 4, **seeds)
    return {
        "eight": difference(one.state, eight.state),
        "metrics": difference(measured(one.metrics), measured(eight.metrics)),
        "buffer_parts": sorted(part.data.shape for part in buffer.addressable_shards),
        "buffer": buffer.shape,
        "windows": windows(eight.state.replay),
        "down": difference(one.state, down.state),
        "up": difference(one.state, up.state),
        "seeds": difference(alone.state, shared.state),
        "flashsac": flashsac(directory),
        "history": history(directory),
        "randomized": randomized(directory),
        "augmented": augmented(directory),
        "recorded": recorded(directory),
        "epoch": split(8),
        "seeds_epoch": split(4, num_seeds=4),
    }


if __name__ == "__main__":
    print("ANSWERS", json.dumps(main(pathlib.Path(sys.argv[1]))))
