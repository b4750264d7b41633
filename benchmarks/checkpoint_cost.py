"""Measure checkpoints of a large replay buffer: bytes, seconds, and how long training waits.

    python benchmarks/checkpoint_cost.py --json benchmarks/results/checkpoint_10m.json

Soft actor-critic on ant with a full buffer of random rows. Each turn saves it three times, with
networks and a twentieth of the rows replaced before each, as in training, and loads the third. That
shares with the first what has not changed since.
"""

import argparse
import pathlib
import tempfile
import time
from typing import Any

import common


def main() -> None:
    """Take turns and write the spread of each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--num_envs", type=int, default=1024)
    args = common.in_turns(parser)

    from mjx_sac import resolve
    from mjx_sac.bench import stages
    from mjx_sac.bench.spread import spread

    settings = {"env": "ant", "num_envs": args.num_envs, "buffer_size": args.rows}
    _, state = stages.start(resolve(settings))
    state = state.replace(replay=stages.full(state.replay))
    turns = [one_turn(state) for _ in range(args.repeats)]
    figures = {name: spread([turn[name] for turn in turns]) for name in turns[0]}
    result = {**settings, "repeats": args.repeats, "checkpoints": figures}
    common.write({"benchmark": "checkpoint_cost", **result}, args.json)


def one_turn(state: Any) -> dict[str, float]:
    """Return what each checkpoint costs, and the seconds of loading the last."""
    import jax

    from mjx_sac.runs.checkpoint import Checkpoints, restore
    from mjx_sac.training.compiled import sharding

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        checkpoints = Checkpoints(directory, 3, {}, fetch=sharding.fetch)
        for i, which in enumerate(("first", "second", "third"), start=1):
            state = jax.block_until_ready(trained(state))
            policy = state.train.actor, state.normalizer
            checkpoints.save(i, {"state": state, "policy": policy})
            checkpoints.wait()
            for cost in ("bytes", "new_bytes", "seconds", "stall_seconds"):
                found[f"{which}_{cost}"] = checkpoints.cost[f"checkpoint/{cost}"]
        checkpoints.close()
        shapes, started = jax.eval_shape(lambda: state), time.perf_counter()
        jax.block_until_ready(restore(directory, 3, shapes, lambda _, x: sharding.place(x, None)))
        found["load_seconds"] = time.perf_counter() - started
    return found


def trained(state: Any) -> Any:
    """Return the state with other numbers in the oldest twentieth of its rows, and networks."""
    import jax

    replay = state.replay
    n = replay.row.shape[0] // 20
    other = {
        name: getattr(replay, name).at[:n].add(1.0) for name in ("observation", "action", "reward")
    }
    networks = jax.tree.map(lambda x: x + 1 if x.dtype == "float32" else x, state.train)
    return state.replace(replay=replay.replace(**other), train=networks)


if __name__ == "__main__":
    main()
