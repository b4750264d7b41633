r"""Time SAC on a task of MuJoCo Playground beside Brax's and RL-X's, at equal work.

    git clone https://github.com/nico-bohlinger/RL-X rl-x    # commit 46d8e26 was measured
    python3 -m venv rl-x-env
    rl-x-env/bin/pip install jax==0.10.2 flax==0.12.8 optax==0.2.8 orbax-checkpoint==0.12.8 \
        playground==0.2.0 mujoco==3.17.0 mujoco-mjx==3.17.0 wandb dm-tree ml-collections
    python benchmarks/playground_peers.py --rlx rl-x --rlx_python rl-x-env/bin/python \
        --json benchmarks/results/playground_peers.json

All have the layers that RL-X fixes (512, 256 and 128 wide, the critics' with a layer norm), and one
gradient step per vector step, as many as its SAC takes. RL-X has no environment of Playground's:
`rlx_sac.py` adapts one. Each trainer runs in a process of its own, several times in turn; an
epoch's rate counts neither compiling nor evaluating. Memory is the most that the process had,
compiling included.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import common

from mjx_sac.bench.spread import ratio

SCRIPTS = pathlib.Path(__file__).parent
EPOCHS = 6
LAYERS = (512, 256, 128)


def ours(args: argparse.Namespace) -> list[float]:
    """Return iterations/s of epochs of ours."""
    import mjx_sac
    from mjx_sac.runs import event_files

    with tempfile.TemporaryDirectory() as directory:
        given = settings(args) | {"logdir": f"{directory}/run", "iterations": args.epoch * EPOCHS}
        given |= {"log_interval": args.epoch, "episodes_per_eval": 0}
        mjx_sac.train(mjx_sac.resolve(given))
        rates = event_files.read(pathlib.Path(directory) / "run")["time/iterations_per_second"]
    return [*rates.values()][2:]  # after the warm-up


def brax(args: argparse.Namespace) -> list[float]:
    """Return iterations/s of epochs of Brax's."""
    import brax_sac

    from mjx_sac.config import Config, build

    rates: list[float] = []

    def progress(_: int, metrics: dict[str, Any]) -> None:
        rates.append(float(metrics.get("training/sps", 0.0)))

    config = build(Config, settings(args))
    brax_sac.run_sac(config, args.epoch * EPOCHS, EPOCHS - 1, 1, progress, prefill=args.epoch)
    return rates[2:]  # the first evaluation has none, the first epoch compiles


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return hyperparameters that all have in common."""
    return {
        "env": f"playground/{args.task}",
        "num_envs": args.num_envs,
        "updates_per_iteration": 1 / args.num_envs,
        "batch_size": args.batch_size,
        "buffer_size": args.buffer_size,
        "warm_up_steps": args.epoch,
        "hidden_sizes": LAYERS,
        "critic_layer_norm": True,
        "policy_lr": 3e-4,
        "q_lr": 3e-4,
    }


def run(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return what a process of its own says of a trainer."""
    python, script = sys.executable, SCRIPTS / "playground_peers.py"
    environment = dict(os.environ)
    if name == "rlx":
        python, script = str(args.rlx_python), SCRIPTS / "rlx_sac.py"
        environment["PYTHONPATH"] = str(args.rlx)
    names = ("task", "num_envs", "batch_size", "buffer_size", "epoch")
    flags = [f"--{key}={getattr(args, key)}" for key in names]
    command = [python, str(script), *flags, *([f"--only={name}"] if name != "rlx" else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Take turns, and write rates, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="CheetahRun")
    parser.add_argument("--num_envs", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=512)
    parser.add_argument("--buffer_size", type=int, default=4_194_304)
    parser.add_argument("--epoch", type=int, default=12_800, help="iterations")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rlx", type=pathlib.Path, help="a clone of RL-X")
    parser.add_argument("--rlx_python", type=pathlib.Path, help="a Python that runs it")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", choices=("ours", "brax"), help="one, in this process")
    args = parser.parse_args()
    if args.only:
        rates = {"ours": ours, "brax": brax}[args.only](args)
        print(json.dumps({"rates": rates, "peak_bytes": peak()}))
        return
    names = ["ours", "brax", *(["rlx"] if args.rlx else [])]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache  # so that each compiles once
        for _ in range(args.turns):
            for name in names:
                found[name].append(run(args, name))
                print(name, found[name][-1], file=sys.stderr, flush=True)
    medians = {k: [statistics.median(x["rates"]) for x in v] for k, v in found.items()}
    result = {
        "benchmark": "playground_peers",
        "settings": {k: v for k, v in settings(args).items() if k != "updates_per_iteration"},
        "updates_per_vector_step": 1,
        "iterations_per_second": {k: [round(x, 1) for x in v] for k, v in medians.items()},
        "ratios": {name: ratio(medians["ours"], medians[name]) for name in names[1:]},
        "peak_bytes": {k: max(x["peak_bytes"] for x in v) for k, v in found.items()},
    }
    common.write(result, args.json)


def peak() -> int:
    """Return the most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
