"""Train Brax's SAC, the peer we measure ourselves against, at our hyperparameters.

    python benchmarks/brax_sac.py --seed 0 --iterations 200000 --json brax_ant_0.json

The released Brax 0.14.2 calls `jax.device_put_replicated`, which JAX 0.10 removed. `patch` puts
back the two lines that its development head uses instead; every other line of its trainer is the
released one. The environment is Brax's own `ant` on the `mjx` backend, hyperparameters are ours
(see `run_sac`), and Brax fixes the target entropy at minus half the action size.
"""

import argparse
import functools
import pathlib
import time
from typing import Any

import common

from mjx_sac.config import Config, build

STARTED = time.perf_counter()


def patch() -> None:
    """Give JAX 0.10+ the one function that Brax's released SAC still calls."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def device_put_replicated(tree, devices):
        sharding = jax.NamedSharding(jax.sharding.Mesh(np.array(devices), ("d",)), jax.P("d"))
        return jax.tree.map(
            lambda x: jax.device_put(jnp.stack([jnp.asarray(x)] * len(devices)), sharding), tree
        )

    jax.device_put_replicated = device_put_replicated


def environment(name: str) -> dict[str, Any]:
    """Return arguments of `sac.train`: a `playground/` environment, or Brax's own on MJX."""
    if name.startswith("playground/"):
        from mujoco_playground import registry, wrapper

        found = registry.load(name.removeprefix("playground/"), config_overrides={"impl": "jax"})
        return {"environment": found, "wrap_env_fn": wrapper.wrap_for_brax_training}
    import brax.envs

    return {"environment": brax.envs.get_environment(name, backend="mjx")}


def run_sac(
    config: Config, total: int, epochs: int, episodes: int, progress: Any, prefill: int = 10_000
) -> None:
    """Run Brax's `sac.train` at the hyperparameters of `config` that it has.

    It calls `progress(iterations, metrics)` after each of `epochs` epochs.
    """
    patch()
    from brax.training.agents.sac import networks
    from brax.training.agents.sac import train as sac

    sac.train(
        **environment(config.env),
        num_timesteps=total,
        episode_length=1000,
        num_envs=config.num_envs,
        grad_updates_per_step=config.updates_per_vector_step,
        num_eval_envs=episodes,
        learning_rate=config.q_lr,
        discounting=config.discount,
        seed=config.seed,
        batch_size=config.batch_size,
        num_evals=epochs + 1,
        normalize_observations=True,
        tau=config.tau,
        min_replay_size=prefill,
        max_replay_size=config.buffer_size,
        deterministic_eval=True,
        network_factory=functools.partial(
            networks.make_sac_networks,
            hidden_layer_sizes=config.hidden_sizes,
            q_network_layer_norm=config.critic_layer_norm,
        ),
        progress_fn=progress,
    )


def train(
    env: str, seed: int, iterations: int, num_envs: int, interval: int, episodes: int
) -> list[dict]:
    """Return the evaluation curve, with iterations/s of every interval between evaluations."""
    rows = []

    def progress(step: int, metrics: dict) -> None:
        rows.append(
            {
                "iterations": int(step),
                "mean_reward": float(metrics["eval/episode_reward"]),
                "std_reward": float(metrics["eval/episode_reward_std"]),
                "iterations_per_second": float(metrics.get("training/sps", 0.0)),
                "seconds": time.perf_counter() - STARTED,
            }
        )
        print(rows[-1], flush=True)

    config = build(Config, {"env": env, "seed": seed, "num_envs": num_envs})
    run_sac(config, iterations, iterations // interval, episodes, progress)
    return rows


def main() -> None:
    """Train once and write the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=200_000)
    parser.add_argument("--num_envs", type=int, default=16)
    parser.add_argument(
        "--interval", type=int, default=20_000, help="iterations between evaluations"
    )
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    curve = train(**settings)
    common.write({"peer": "brax-sac 0.14.2, patched", **settings, "curve": curve}, args.json)


if __name__ == "__main__":
    main()
