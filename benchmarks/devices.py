"""What devices exchange in one vector step, read off a program compiled for eight H200s, and what that means for more of them.

    pip install "jax[cuda12]"   # no driver or chip is needed
    python benchmarks/devices.py --json benchmarks/results/devices_ant.json
    python benchmarks/devices.py --page   # writes benchmarks/DEVICES.md from that file

Bytes and numbers of exchanges are counted. Times are extrapolated with a model and public constants; none is measured.
"""

import argparse
import json
import math
import os
import pathlib
from typing import Any

os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

HERE = pathlib.Path(__file__).parent
DEVICES = (1, 8, 64, 512)
PER_NODE = 8

LAUNCH = 2.5e-6
"""Seconds a kernel of a small learner takes at least: what bounds it, see benchmarks/gpu_launches.py. An assumption."""

# NCCL's own model of itself, for Volta and Ampere: https://github.com/NVIDIA/nccl/blob/01afd20a/src/graph/tuning.cc
# Microseconds: `baseLat` and `hwLat` of Tree/LL128, Ring/LL and Ring/Simple, within a node (NVLink) and between nodes.
TREE, RING_LL, RING = (4.4, 1.2, 8.5), (3.6, 0.47, 2.7), (8.4, 3.4, 9.6)
BUS = 235e9
"""Bytes per second around a ring: the most that the same model allows eight GPUs of a node ("compCap80")."""
TREE_BUS = {1: 110e9, 2: 80e9}
"""The most that it allows a tree (`maxTreeBw`), in one node and in several."""


def count(
    num_devices: int, num_envs: int, batch_size: int, updates: int
) -> list[tuple[str, int, int]]:
    """Compiles ant's epoch for so many H200s, and counts what they exchange."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import AxisType, Mesh

    from mjx_sac import envs, networks
    from mjx_sac.config import Config
    from mjx_sac.losses import Losses
    from mjx_sac.training.compiled import epoch, population, sharding
    from mjx_sac.training.host import hlo

    config = Config(
        num_envs=num_envs,
        batch_size=batch_size,
        updates_per_iteration=updates / num_envs,
        log_interval=10 * num_envs,
    )
    env = envs.make(config.env, config)
    agent = epoch.make_experiment(config, env, networks.make(config, env.action_size), Losses())
    chip = (HERE / "h200.txtpb").read_text()
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="h200", topology=f"1x1x{num_devices}", target_config=chip
    )
    mesh = Mesh(np.array(topology.devices), (sharding.AXIS,), axis_types=(AxisType.Auto,))
    shapes = jax.eval_shape(population.init(agent))
    lowered = population.lower(agent, shapes, mesh, platforms=("cuda",))
    return [
        tuple(each)
        for each in hlo.count_exchanges(
            lowered.compile(compiler_options={"xla_gpu_autotune_level": 0}).as_text()
        )
    ]


def seconds(kind: str, size: int, n: int) -> float:
    """Of an exchange of `size` bytes between `n` devices, by NCCL's model: the faster of a tree and a ring."""
    nodes = max(n // PER_NODE, 1)
    if n == 1:
        return 0.0
    steps, between = n - 1, nodes - 1
    turns = 2 if kind == "all-reduce" else 1

    def ring(constants: tuple[float, float, float], share: float) -> float:
        base, near, far = constants
        near *= 1.8 if constants is RING_LL and nodes > 1 else 1
        latency = base + turns * ((steps - between) * near + between * far)
        return latency * 1e-6 + size * turns * steps / n / (BUS * share)

    ways = [ring(RING_LL, 1 / 4), ring(RING, 1.0)]
    if kind == "all-reduce":
        base, near, far = TREE
        latency = base + 2 * ((min(n, PER_NODE) - 1) * near + math.log2(nodes) * far)
        ways.append(latency * 1e-6 + size / (TREE_BUS[min(nodes, 2)] * 0.5 * 7 / 9))
    return min(ways)


def extrapolate(result: dict[str, Any], n: int, grows: bool) -> dict[str, float]:
    """Seconds of one vector step on `n` devices.

    Args:
      result: of `count`, on eight devices.
      n: devices.
      grows: environments and batch grow with the devices, from what `result` has for one; the number of gradient steps does not.
    """
    launches = json.loads((HERE / "results" / "gpu_launches_ant.json").read_text())
    updates = result["updates_per_vector_step"]
    exchanged = 0.0
    for kind, size, depth in result["exchanges"]:
        # What grows: the batches, and their statistics. Gradients and sums do not.
        scaled = size * n if grows and kind in ("reduce-scatter", "all-gather") else size
        exchanged += (
            seconds(kind, scaled, n) * {0: 0, 1: 1, 2: updates / result["updates_per_turn"]}[depth]
        )
    physics, steps = (
        launches["launches_per_vector_step_beside_updates"] * LAUNCH,
        launches["launches_per_update"] * LAUNCH * updates,
    )
    return {
        "physics": physics,
        "gradient_steps": steps,
        "exchanges": exchanged,
        "all": physics + steps + exchanged,
    }


def _table(result: dict[str, Any], grows: bool) -> str:
    one = extrapolate(result, 1, grows)["all"]
    rows = [
        "| devices | environments | batch | launches, ms | exchanges, ms | transitions/s, of one device's | per device |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in DEVICES if grows else [n for n in DEVICES if result["num_envs"] % n == 0]:
        part, more = extrapolate(result, n, grows), n if grows else 1
        gain = one / part["all"] * more
        launches, exchanged = 1e3 * (part["all"] - part["exchanges"]), 1e3 * part["exchanges"]
        rows.append(
            f"| {n} | {result['num_envs'] * more:,} | {result['batch_size'] * more:,} | {launches:.1f} | "
            f"{exchanged:.1f} | {gain:.2f} | {gain / n:.0%} |"
        )
    return "\n".join(rows)


def _counted(result: dict[str, Any]) -> str:
    rows = ["| where | exchange | bytes |", "|---|---|---|"]
    where = {
        0: "once per epoch",
        1: "per vector step",
        2: f"per {result['updates_per_turn']} gradient steps",
    }
    for depth in (2, 1, 0):
        for kind, size, _ in [each for each in result["exchanges"] if each[2] == depth]:
            rows.append(f"| {where[depth]} | {kind} | {size:,} |")
    return "\n".join(rows)


def page(result: dict[str, Any]) -> str:
    """`DEVICES.md`."""
    updates = result["updates_per_vector_step"]
    per_step = [size for _, size, depth in result["exchanges"] if depth == 2]
    batches = max(size for kind, size, depth in result["exchanges"] if kind == "reduce-scatter")
    share = extrapolate(result, 8, True)
    return PAGE.format(
        counted=_counted(result),
        fixed=_table(result, False),
        grown=_table(result, True),
        num_envs=result["num_envs"],
        batch_size=result["batch_size"],
        updates=updates,
        number=len(per_step) // result["updates_per_turn"],
        gradient_bytes=f"{sum(per_step) // result['updates_per_turn']:,}",
        batch_bytes=f"{batches:,}",
        batch_bytes_512=f"{batches * 512 / 1e9:.1f}",
        exchanged_8=f"{share['exchanges'] / share['all']:.0%}",
        launch=f"{LAUNCH * 1e6:g}",
        commit=result["measured_with"]["git_commit"][:10],
    )


PAGE = """# More devices

Written by `python benchmarks/devices.py --page` from `results/devices_ant.json`. **Bytes and numbers of exchanges are
counted** in the program that XLA compiles for eight H200s (ant, {num_envs} environments, batch {batch_size}, {updates}
gradient steps per vector step, commit {commit}). **All times are extrapolated, none is measured**: nobody has run this on
more than one GPU.

## What moves

{counted}

A gradient step has {number} exchanges, {gradient_bytes} bytes: the critics' gradients, and the actor's and the temperature's.
A vector step brings {batch_bytes} bytes of batches from the environments' owners to where they are learned from, in one
exchange, what is logged about all rows of its batches to every device in another, and else counters and sums of a few
hundred bytes. Physics exchanges nothing. Once per epoch the pool of initial states and metrics are gathered.

## The model

- A device takes {launch} microseconds per kernel launched, counted in `results/gpu_launches_ant.json`, however little work
  a kernel has. An assumption: it holds for small networks and some thousand environments per device.
- An exchange takes what NCCL thinks it does when it chooses between trees and rings: latencies and bandwidths of
  [tuning.cc](https://github.com/NVIDIA/nccl/blob/01afd20a77b5804e0ecf1042509dd9d20ebf9e93/src/graph/tuning.cc), written for
  Volta and Ampere; newer links are faster. Eight devices to a node. Nothing overlaps.

## One run on more devices (extrapolated)

The same numbers of environments, batch and gradient steps: the same run, in other places. Not on 512: {num_envs}
environments cannot be shared so.

{fixed}

It does not get faster. A device that launches some thousand small kernels is no sooner done with an eighth of the work in
each, and every gradient step waits for the others. Several devices are for a replay buffer, or environments, that one has
no room for, and for networks and batches whose kernels take much longer than a launch.

## Environments and batch that grow with the devices (extrapolated)

{num_envs} environments and {batch_size} rows of the batch for each device, and as many gradient steps per vector
step as one device takes.

{grown}

Eight devices of a node spend {exchanged_8} of the time on exchanges. Where it stops scaling, and why:

- **Beyond a node** latency: {updates} gradient steps one after another, each of which waits for gradients to cross the
  network twice. Larger batches and fewer steps help, at learning's expense; a faster network hardly does.
- **At hundreds of devices** the batches: rows are drawn from everywhere, as on one device, and a dense exchange brings
  every device {batch_bytes_512} GB per vector step through its links at 512, of which it keeps a part in 512. Drawing each
  device's rows from its own environments would exchange none, and would be another algorithm than one device's.
- Statistics of a whole batch, and the pool of initial states, are on every device: they grow with the run, not with the
  device.
- A checkpoint is written by process 0, whose host must have room for the whole state.

## Many seeds

`--num_seeds` shared by devices exchanges nothing but metrics, once per epoch: N devices train N times the seeds in the same
time, up to the slowest one's. For learning curves that is what more devices are good for.
"""


def main() -> None:
    """Counts, or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_envs", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--updates", type=int, default=128, help="gradient steps per vector step")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--page", action="store_true")
    args = parser.parse_args()
    if args.page:
        result = json.loads((HERE / "results" / "devices_ant.json").read_text())
        (HERE / "DEVICES.md").write_text(page(result))
        return
    import common

    from mjx_sac.training.compiled import epoch

    found = count(8, args.num_envs, args.batch_size, args.updates)
    shape = {
        "num_envs": args.num_envs,
        "batch_size": args.batch_size,
        "updates_per_vector_step": args.updates,
    }
    shape |= {"updates_per_turn": epoch.UPDATES_PER_TURN}
    common.write(
        {
            "benchmark": "devices",
            "env": "ant",
            "compiled_for": "8 x H200",
            **shape,
            "exchanges": found,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
