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

import common

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


def run_sac(
    env: str,
    seed: int,
    total: int,
    num_envs: int,
    epochs: int,
    episodes: int,
    progress,
    prefill: int = 10_000,
) -> None:
    """Run Brax's `sac.train` at our hyperparameters.

    It calls `progress(iterations, metrics)` after each of `epochs` epochs.
    """
    patch()
    import brax.envs
    from brax.training.agents.sac import networks
    from brax.training.agents.sac import train as sac

    sac.train(
        brax.envs.get_environment(env, backend="mjx"),
        num_timesteps=total,
        episode_length=1000,
        num_envs=num_envs,
        grad_updates_per_step=num_envs,  # one update per iteration
        num_eval_envs=episodes,
        learning_rate=3e-4,
        discounting=0.99,
        seed=seed,
        batch_size=256,
        num_evals=epochs + 1,
        normalize_observations=True,
        tau=0.005,
        min_replay_size=prefill,
        max_replay_size=1_000_000,
        deterministic_eval=True,
        network_factory=functools.partial(
            networks.make_sac_networks, hidden_layer_sizes=(256, 256)
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

    run_sac(env, seed, iterations, num_envs, iterations // interval, episodes, progress)
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
