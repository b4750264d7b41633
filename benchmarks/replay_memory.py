r"""Measure the replay buffer for 1,000,000 transitions, allocated: bytes of ours and of Brax's.

    python benchmarks/replay_memory.py --json benchmarks/results/replay_memory_ant.json

Playground's G1, of whose 216 numbers the actor sees the first 103, which a table keeps once more:

    python benchmarks/replay_memory.py --observation_size 216 --actor_sees 103 --action_size 29 \
        --json benchmarks/results/replay_memory_g1.json
"""

import argparse
import pathlib

import common


def main() -> None:
    """Allocate both buffers and add up what their arrays occupy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--observation_size", type=int, default=27, help="Brax's ant")
    parser.add_argument("--actor_sees", type=int, default=0, help="numbers, if not all")
    parser.add_argument("--action_size", type=int, default=8)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    import jax
    import jax.numpy as jnp
    from brax.training import replay_buffers, types

    from mjx_sac.training.compiled import replay

    def nbytes(tree: object) -> int:
        return sum(x.nbytes for x in jax.tree.leaves(jax.block_until_ready(tree)))

    observation = jnp.zeros(args.observation_size + args.actor_sees)
    row = types.Transition(  # as Brax's SAC makes it
        observation=observation,
        action=jnp.zeros(args.action_size),
        reward=0.0,
        discount=0.0,
        next_observation=observation,
        extras={"state_extras": {"truncation": 0.0}, "policy_extras": {}},
    )
    queue = replay_buffers.UniformSamplingQueue(args.rows, row, 256)
    brax = nbytes(queue.init(jax.random.PRNGKey(0)))
    ours = nbytes(replay.init(args.rows, 16, args.observation_size, args.action_size))
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    figures = {"mjx_sac_bytes": ours, "brax_bytes": brax, "ratio": ours / brax}
    figures["mjx_sac_bytes_per_row"] = ours / args.rows
    figures["brax_bytes_per_row"] = brax / args.rows
    common.write({"benchmark": "replay_memory", **settings, **figures}, args.json)


if __name__ == "__main__":
    main()
