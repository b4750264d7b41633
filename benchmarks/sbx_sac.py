r"""Train SBX's or Stable-Baselines3's SAC at our hyperparameters, as a peer.

Both need torch, and so a Python of their own, where the second comes with the first:

    python3.11 -m venv sbx && sbx/bin/pip install torch==2.13.0
    sbx/bin/pip install sbx-rl "gymnasium[mujoco]" mujoco==3.17.0
    sbx/bin/python benchmarks/sbx_sac.py --env Hopper-v5 --iterations 100_000 --seed 0 \
        --json hopper_sbx_0.json

SBX's runs in JAX, Stable-Baselines3's (`--torch`) in PyTorch. With `--serve` it trains as many
steps as each line on standard input asks for and answers with seconds: `gymnasium_throughput.py`
takes turns with it that way.
"""

import argparse
import importlib.metadata
import json
import pathlib
import sys
import time
from types import ModuleType

import gymnasium
import numpy as np
import sbx
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


def make(library: ModuleType, env: str, seed: int, num_envs: int, warm_up: int) -> BaseAlgorithm:
    """Return the library's SAC: one gradient step per transition, networks as wide as ours."""
    return library.SAC(
        "MlpPolicy",
        make_vec_env(env, num_envs, seed=seed),
        learning_rate=3e-4,
        buffer_size=1_000_000,
        learning_starts=warm_up,
        batch_size=256,
        tau=0.005,
        gamma=0.99,
        train_freq=1,
        gradient_steps=num_envs,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
    )


class Evaluate(BaseCallback):
    """Evaluates the deterministic policy on separate episodes, every `interval` steps."""

    def __init__(self, env: str, interval: int, episodes: int) -> None:
        super().__init__()
        self._envs = gymnasium.make_vec(env, episodes, vectorization_mode="sync")
        self._interval, self._episodes, self._next = interval, episodes, interval
        self.curve: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self._interval
            self.curve.append({"iterations": self.num_timesteps, **self._evaluate()})
            print(self.curve[-1], flush=True)
        return True

    def _evaluate(self) -> dict[str, float]:
        observation, _ = self._envs.reset(seed=self.num_timesteps)
        returns, over = np.zeros(self._episodes), np.zeros(self._episodes, bool)
        while not over.all():
            action, _ = self.model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = self._envs.step(action)
            returns += np.where(over, 0.0, reward)
            over |= terminated | truncated
        return {"mean_reward": float(returns.mean()), "std_reward": float(returns.std())}


def main() -> None:
    """Train once and write the curve, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=100_000)
    parser.add_argument("--num_envs", type=int, default=1)
    parser.add_argument("--warm_up_steps", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--torch", action="store_true", help="Stable-Baselines3's SAC")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    library = stable_baselines3 if args.torch else sbx
    model = make(library, args.env, args.seed, args.num_envs, args.warm_up_steps)
    packages = ("sbx-rl", "stable-baselines3", "jax", "torch", "gymnasium")
    versions = {name: importlib.metadata.version(name) for name in packages}
    if args.serve:
        for line in sys.stdin:
            started = time.perf_counter()
            model.learn(int(line), reset_num_timesteps=False)
            seconds = time.perf_counter() - started
            print(json.dumps({"seconds": seconds, "versions": versions}), flush=True)
        return
    evaluate = Evaluate(args.env, args.interval, args.episodes)
    model.learn(args.iterations, callback=evaluate)
    settings = {k: v for k, v in vars(args).items() if k not in ("json", "serve")}
    name = "Stable-Baselines3 SAC" if args.torch else "SBX SAC"
    result = {"peer": name, **settings, "versions": versions, "curve": evaluate.curve}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
