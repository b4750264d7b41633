"""Count what eight devices exchange in a vector step, and extrapolate to more of them.

    pip install "jax[cuda12]"   # no driver or chip is needed
    python benchmarks/devices.py --json benchmarks/results/devices_ant.json
    python docs/generate.py     # writes what docs/devices.md says of that file

Bytes and numbers of exchanges are read off the program that XLA compiles for eight H200s. Times
come from a model and public constants; none is measured.
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
"""Seconds a kernel of a small learner takes at least, an assumption; see gpu_launches.py."""

# NCCL's model of itself, for Volta and Ampere:
# https://github.com/NVIDIA/nccl/blob/01afd20a/src/graph/tuning.cc
# Microseconds: `baseLat` and `hwLat` of Tree/LL128, Ring/LL and Ring/Simple, within a node (NVLink)
# and between nodes.
TREE, RING_LL, RING = (4.4, 1.2, 8.5), (3.6, 0.47, 2.7), (8.4, 3.4, 9.6)
BUS = 235e9
"""Bytes per second around a ring: the most the model allows eight GPUs of a node ("compCap80")."""
TREE_BUS = {1: 110e9, 2: 80e9}
"""The most it allows a tree (`maxTreeBw`), in one node and in several."""


def count(
    num_devices: int, num_envs: int, batch_size: int, updates: int
) -> list[tuple[str, int, int]]:
    """Compile ant's epoch for so many H200s, and return the exchanges: kind, bytes, loop depth."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import AxisType, Mesh

    from mjx_sac import envs, networks
    from mjx_sac.algorithms.base import Algorithm
    from mjx_sac.config import Config
    from mjx_sac.training.compiled import population, sharding
    from mjx_sac.training.compiled.experiment import make_experiment
    from mjx_sac.training.host import hlo

    config = Config(
        num_envs=num_envs,
        batch_size=batch_size,
        updates_per_iteration=updates / num_envs,
        log_interval=10 * num_envs,
    )
    env = envs.make(config.env, config)
    nets = networks.make(config, env.action_size)
    experiment = make_experiment(config, env, nets, Algorithm())
    chip = (HERE / "h200.txtpb").read_text()
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="h200", topology=f"1x1x{num_devices}", target_config=chip
    )
    mesh = Mesh(np.array(topology.devices), (sharding.ENV_AXIS,), axis_types=(AxisType.Auto,))
    shapes = jax.eval_shape(population.init(experiment))
    lowered = population.lower(experiment, shapes, mesh, platforms=("cuda",))
    compiled = lowered.compile(compiler_options={"xla_gpu_autotune_level": 0})
    return [tuple(each) for each in hlo.count_exchanges(compiled.as_text())]


def seconds(kind: str, size: int, n: int) -> float:
    """Return how long `n` devices take to exchange `size` bytes: the faster of tree and ring."""
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
    """Return the seconds of one vector step on `n` devices, by part.

    Args:
      result: of `count`, on eight devices.
      n: devices.
      grows: environments and batch grow with the devices, from what `result` has for one; the
        number of gradient steps does not.
    """
    launches = json.loads((HERE / "results" / "gpu_launches_ant.json").read_text())
    updates = result["updates_per_vector_step"]
    exchanged = 0.0
    times = {0: 0, 1: 1, 2: updates / result["updates_per_turn"]}  # by loop depth
    for kind, size, depth in result["exchanges"]:
        # What grows: the batches, and their statistics. Gradients and sums do not.
        scaled = size * n if grows and kind in ("reduce-scatter", "all-gather") else size
        exchanged += seconds(kind, scaled, n) * times[depth]
    physics = launches["launches_per_vector_step_beside_updates"] * LAUNCH
    steps = launches["launches_per_update"] * LAUNCH * updates
    return {
        "physics": physics,
        "gradient_steps": steps,
        "exchanges": exchanged,
        "all": physics + steps + exchanged,
    }


def table(result: dict[str, Any], grows: bool) -> str:
    """Return what `extrapolate` says of one device and of more, as Markdown."""
    one = extrapolate(result, 1, grows)["all"]
    head = "devices|environments|batch|launches, ms|exchanges, ms|transitions/s of one's|per device"
    rows = [f"| {head.replace('|', ' | ')} |", "|---|---|---|---|---|---|---|"]
    for n in DEVICES if grows else [n for n in DEVICES if result["num_envs"] % n == 0]:
        part, more = extrapolate(result, n, grows), n if grows else 1
        gain = one / part["all"] * more
        launches, exchanged = 1e3 * (part["all"] - part["exchanges"]), 1e3 * part["exchanges"]
        rows.append(
            f"| {n} | {result['num_envs'] * more:,} | {result['batch_size'] * more:,} | "
            f"{launches:.1f} | {exchanged:.1f} | {gain:.2f} | {gain / n:.0%} |"
        )
    return "\n".join(rows)


def exchanges(result: dict[str, Any]) -> str:
    """Return what was counted, as Markdown."""
    turn = result["updates_per_turn"]
    where = {0: "once per epoch", 1: "per vector step", 2: f"per {turn} gradient steps"}
    rows = ["| where | exchange | bytes |", "|---|---|---|"]
    for depth in (2, 1, 0):
        for kind, size, _ in [each for each in result["exchanges"] if each[2] == depth]:
            rows.append(f"| {where[depth]} | {kind} | {size:,} |")
    per_turn = [size for _, size, depth in result["exchanges"] if depth == 2]
    return "\n".join(rows) + (
        f"\n\nCounted for ant, {result['num_envs']} environments, batch {result['batch_size']}, "
        f"{result['updates_per_vector_step']} gradient steps per vector step, commit "
        f"{result['measured_with']['git_commit'][:10]}. A gradient step has "
        f"{len(per_turn) // turn} exchanges of {sum(per_turn) // turn:,} bytes together."
    )


def limits(result: dict[str, Any]) -> str:
    """Return what the largest exchanges come to, as Markdown."""
    share = extrapolate(result, 8, True)
    batches = max(size for kind, size, _ in result["exchanges"] if kind == "reduce-scatter")
    return (
        f"Eight devices of a node spend {share['exchanges'] / share['all']:.0%} of the time on "
        f"exchanges. At 512 every device receives {batches * 512 / 1e9:.1f} GB of batches per "
        f"vector step, of which it keeps a part in 512."
    )


def main() -> None:
    """Count, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_envs", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--updates", type=int, default=128, help="gradient steps per vector step")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    import common

    from mjx_sac.training.compiled import updates

    result = {
        "benchmark": "devices",
        "env": "ant",
        "compiled_for": "8 x H200",
        "num_envs": args.num_envs,
        "batch_size": args.batch_size,
        "updates_per_vector_step": args.updates,
        "updates_per_turn": updates.UPDATES_PER_TURN,
        "exchanges": count(8, args.num_envs, args.batch_size, args.updates),
    }
    common.write(result, args.json)


if __name__ == "__main__":
    main()
