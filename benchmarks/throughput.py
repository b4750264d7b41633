"""Iterations per second of the training epoch, ours and Brax's SAC taking turns in one process.

    python benchmarks/throughput.py --json benchmarks/results/throughput_ant.json

Brax's trainer runs in a thread of its own, which waits in its progress callback while ours is measured, so that whatever else
the machine does hits both alike. Equal settings: environments, batch, networks, one update per iteration, normalised observations.
"""

import argparse
import pathlib
import threading
import time
from functools import partial

import common


class Brax:
    """Brax's SAC, advanced one epoch at a time."""

    def __init__(self, env: str, num_envs: int, iterations: int, repeats: int) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._rate: float | None = None
        total = iterations * (repeats + 2)
        args = (env, num_envs, total, repeats + 1)
        threading.Thread(target=self._train, args=args, daemon=True).start()

    def _train(self, env: str, num_envs: int, total: int, epochs: int) -> None:
        import brax_sac

        def progress(step: int, metrics: dict) -> None:
            self._rate = float(metrics.get("training/sps", 0.0))
            self._done.release()
            self._go.acquire()

        self._go.acquire()
        brax_sac.run_sac(env, 0, total, num_envs, epochs, 1, progress, prefill=total // (epochs + 1))

    def epoch(self) -> float:
        """Runs until the next evaluation; returns iterations/s of the training epoch alone, without the evaluation."""
        self._go.release()
        self._done.acquire()
        return self._rate or 0.0


def ours(env_name: str, num_envs: int, iterations: int):
    """Returns a function that runs one epoch and returns iterations/s."""
    import jax

    from mjx_sac import compilation, envs, networks, trainer
    from mjx_sac.config import Config
    from mjx_sac.losses import Losses

    config = Config(env=env_name, num_envs=num_envs, log_interval=iterations, warm_up_steps=iterations)
    env = envs.make(env_name)
    agent = trainer.make_agent(config, env, networks.make(config, env.action_size), Losses())
    state = jax.jit(partial(trainer.init, agent))(jax.random.PRNGKey(0))
    compiled = jax.jit(partial(trainer.epoch, agent), donate_argnums=0).lower(state).compile(compilation.options())
    holder = [compiled(state)[0]]

    def epoch() -> float:
        started = time.perf_counter()
        holder[0], _ = jax.block_until_ready(compiled(holder[0]))
        return config.epoch_iterations / (time.perf_counter() - started)

    return epoch


def main() -> None:
    """Measures and writes the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--num_envs", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=3200, help="per epoch")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    mine = ours(args.env, args.num_envs, args.iterations)
    brax = Brax(args.env, args.num_envs, args.iterations, args.repeats)
    brax.epoch()  # compiles, evaluates once, and waits before its prefill
    rates: dict[str, list[float]] = {"mjx_sac": [], "brax_sac": []}
    brax.epoch()  # prefill and the first epoch, which compiles
    mine()
    for i in range(args.repeats):
        turns = [("mjx_sac", mine), ("brax_sac", brax.epoch)]
        for name, run in turns if i % 2 else turns[::-1]:
            rates[name].append(run())
        print({name: round(values[-1], 1) for name, values in rates.items()}, flush=True)
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    summary = {"ratio": common.ratio(rates["mjx_sac"], rates["brax_sac"]), "iterations_per_second": rates}
    common.write({"benchmark": "throughput", **settings, **summary}, args.json)


if __name__ == "__main__":
    main()
