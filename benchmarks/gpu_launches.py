r"""Count what a GPU launches for one gradient update and one vector step, without a GPU.

    pip install "jax[cuda12]"   # 5 GB; the libraries are needed, a driver or a chip is not
    python benchmarks/gpu_launches.py --json benchmarks/results/gpu_launches_ant.json
    python benchmarks/gpu_launches.py --pallas --json benchmarks/results/gpu_launches_pallas.json
    python benchmarks/gpu_launches.py --env playground/CheetahRun --num_envs 1024 \
        --algorithm flashsac --batch_size 2048 --updates_per_iteration 2/1024 \
        --buffer_size 10e6 --warm_up_steps 100e3 --iterations 50e6 \
        --json benchmarks/results/gpu_launches_flashsac.json
    python benchmarks/gpu_launches.py --updates \
        --json benchmarks/results/gpu_launches_updates.json

`gpu_launches_g1.json` is the third with `playground/G1JoystickFlatTerrain`, and
`gpu_launches_csac.json` the first with `--algorithm csac`. XLA compiles for an H200 ahead of time,
and `mjx_sac.training.host.hlo` counts. Kernels for matrix products are chosen by measuring on the
chip, which cannot be done here, so which ones run is a guess; how many is not.
"""

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import common
import jax
import jax.numpy as jnp
import numpy as np
from updates import scan

from mjx_sac import envs, networks
from mjx_sac.algorithms import PACKAGED, loader
from mjx_sac.config import Config, build
from mjx_sac.training.compiled import experiment as experiment_lib
from mjx_sac.training.compiled import population
from mjx_sac.training.compiled.updates import UPDATES_PER_TURN
from mjx_sac.training.host import compile
from mjx_sac.training.host.hlo import Launches, count_launches

ANT = 27, 8
"""Sizes of its observations and actions."""


def compile_for_gpu(
    function: Any, *args: Any, donate_argnums: tuple[int, ...] = ()
) -> jax.stages.Compiled:
    """Compile for one H200. `args` are arrays or shapes."""
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    chip = (pathlib.Path(__file__).parent / "h200.txtpb").read_text()
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="h200", topology="1x1x1", target_config=chip
    )
    sharding = NamedSharding(Mesh(np.array(topology.devices[:1]), ("x",)), PartitionSpec())
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), args)
    traced = jax.jit(function, donate_argnums=donate_argnums, out_shardings=sharding).trace(*shapes)
    return traced.lower(lowering_platforms=("cuda",)).compile(
        {"xla_gpu_autotune_level": 0, **compile.options("gpu")}
    )


def make_experiment(config: Config) -> experiment_lib.Experiment:
    """Return the configured algorithm on the configured environment."""
    env, algorithm = envs.make(config.env, config), loader.load(config)
    nets = algorithm.networks(config, env.action_size)
    return experiment_lib.make_experiment(config, env, nets, algorithm)


def updates(config: Config, sizes: tuple[int, int], n: int | None = None) -> Launches:
    """Count one scan over n gradient updates, by default those of a vector step."""
    run, args = updates_program(config, sizes, n or config.updates_per_vector_step)
    return count_launches(compile_for_gpu(run, *args, donate_argnums=(0,)).as_text())


def updates_program(config: Config, sizes: tuple[int, int], n: int) -> tuple[Any, tuple[Any, ...]]:
    """Return a scan over n gradient updates, and the shapes of its arguments."""
    steps = scan(config, sizes, n)
    state = jax.eval_shape(steps.init, jax.random.PRNGKey(0))
    return steps.run, (state, steps.batches, steps.keys)


def operations(config: Config) -> int:
    """Return the operations of eight updates as XLA gets them: what was counted is known by it."""
    run, args = updates_program(config, ANT, 8)
    lowered = jax.jit(run).trace(*args).lower(lowering_platforms=("cuda",))
    return lowered.as_text().count("stablehlo.")


def epoch(config: Config) -> tuple[Launches, dict[str, int]]:
    """Count the training epoch.

    Returns:
      Launches, and bytes: of the "state", what of it is updated "in_place", and what the program
      needs beside it, "temporary".
    """
    experiment = make_experiment(config)
    state = jax.eval_shape(population.init(experiment))
    program = population.epoch(experiment, "gpu")
    compiled = compile_for_gpu(program, state, donate_argnums=(0,))
    memory = compiled.memory_analysis()
    sizes = {
        "state": memory.argument_size_in_bytes,
        "in_place": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }
    return count_launches(compiled.as_text()), sizes


def physics(config: Config) -> Launches:
    """Count a scan over vector steps of the bare environments: no episodes, policy or replay."""
    env = envs.make(config.env, config)
    keys = jax.ShapeDtypeStruct((config.num_envs, 2), jnp.uint32)
    actions = jnp.zeros((config.num_envs, env.action_size))
    step = lambda state: jax.vmap(env.step)(state, actions)[0]  # noqa: E731
    return count_scan(step, jax.eval_shape(jax.vmap(env.reset), keys))


def episodes(config: Config) -> Launches:
    """Count the same with episodes: new ones, the time limit, and whether all is finite."""
    many = make_experiment(config).episodes
    actions = jnp.zeros((config.num_envs, many.env.action_size))
    step = lambda state: many.step(many.start(state), actions)[0]  # noqa: E731
    return count_scan(step, jax.eval_shape(many.init))


def evaluation(config: Config) -> dict[str, int]:
    """Count an evaluation of ten episodes, and a vector step of it."""
    experiment = make_experiment(config)
    state = jax.eval_shape(population.init(experiment))
    policy, n = (state.train.actor, state.normalizer), jax.ShapeDtypeStruct((), jnp.uint32)
    evaluate = population.evaluate(experiment, until_over=False)
    run = compile_for_gpu(evaluate, *policy, state.key, n, None)
    whole = count_launches(run.as_text())
    most = max(whole.loops, key=lambda loop: loop.launches * (loop.trips or 1))
    return {
        "launches_per_evaluation": whole.launches,
        "launches_per_vector_step_of_evaluation": most.launches,
    }


def resets(config: Config) -> int:
    """Count the draw of an initial state for each environment."""
    env = envs.make(config.env, config)
    keys = jax.ShapeDtypeStruct((config.num_envs, 2), jnp.uint32)
    return count_launches(compile_for_gpu(jax.vmap(env.reset), keys).as_text()).launches


def count_scan(step: Any, state: Any) -> Launches:
    """Count a scan over ten `step(state) -> state`."""

    def steps(state: Any) -> Any:
        return jax.lax.scan(lambda state, _: (step(state), None), state, None, length=10)[0]

    return count_launches(compile_for_gpu(steps, state, donate_argnums=(0,)).as_text())


def an_update(config: Config, sizes: tuple[int, int] = ANT) -> float:
    """Count a gradient update, in a loop of eight turns at least: XLA unrolls shorter ones."""
    turn = max(UPDATES_PER_TURN, loader.load(config).period(config))
    n = max(config.updates_per_vector_step, 8 * turn)
    return updates(config, sizes, n).loops[0].launches / turn


def defaults(name: str) -> Config:
    """Return a packaged algorithm's defaults."""
    return build(loader.config_class(name), {"algorithm": name, "num_envs": 1})


def of_all() -> dict[str, dict[str, float]]:
    """Count an update of each packaged algorithm, with its defaults."""
    found: dict[str, float] = {}
    for name in PACKAGED:
        found[name] = round(an_update(defaults(name)), 1)
        print(name, found[name], flush=True)
    counted = {name: operations(defaults(name)) for name in PACKAGED}
    return {"launches_per_update": found, "operations": counted}


def of_pallas(config: Config) -> dict[str, Any]:
    """Count an update with the networks of `pallas_mlp.py`; try wider blocks of columns too."""
    import pallas_mlp

    networks.MLP, networks.Critic = pallas_mlp.MLP, pallas_mlp.Critic  # pyright: ignore[reportAttributeAccessIssue]
    update = an_update(config)
    compiler: dict[str, str] = {}
    for columns in (pallas_mlp.COLUMNS, 128, 256):
        pallas_mlp.COLUMNS = columns
        try:
            updates(config, ANT)
            answer = "compiled"
        except jax.errors.JaxRuntimeError as error:
            answer = str(error)
        compiler[f"{columns} columns at a time"] = answer
    return {"launches_per_update": update, "compiler": compiler}


def main() -> None:
    """Print launches per update and per vector step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--num_envs", type=int, default=128)
    side_by_side = "agents side by side; an update is then one of each"
    parser.add_argument("--num_seeds", type=int, default=1, help=side_by_side)
    parser.add_argument("--algorithm", default="sac", help="others' hyperparameters may follow")
    updates = "only an update, of ant's size, of every packaged algorithm"
    parser.add_argument("--updates", action="store_true", help=updates)
    alone = "only an update, of ant's size, with the networks as Pallas kernels"
    parser.add_argument("--pallas", action="store_true", help=alone)
    parser.add_argument("--json", type=pathlib.Path)
    args, others = parser.parse_known_args()
    named = ("env", "num_envs", "num_seeds", "algorithm")
    given: dict[str, Any] = {name: getattr(args, name) for name in named}
    flags = zip(others[::2], others[1::2], strict=True)
    given |= {flag.removeprefix("--"): value for flag, value in flags}
    config = build(loader.config_class(args.algorithm), given)
    if args.updates:
        common.write({"benchmark": "gpu_launches_updates", **of_all()}, args.json)
    elif args.pallas:
        common.write({"benchmark": "gpu_launches_pallas", **of_pallas(config)}, args.json)
    else:
        common.write({"benchmark": "gpu_launches", **given, **count(config)}, args.json)


def count(config: Config) -> dict[str, Any]:
    """Count the epoch and its parts."""
    whole, memory = epoch(config)
    vector_step = next(loop for loop in whole.loops if loop.trips == config.epoch_vector_steps)
    turn = max(UPDATES_PER_TURN, loader.load(config).period(config))
    env, n = envs.make(config.env, config), config.updates_per_vector_step
    update = an_update(config, (env.observation_size, env.action_size))
    bare, whole_episodes = (
        next(loop for loop in found.loops if loop.trips == 10).launches
        for found in (physics(config), episodes(config))
    )
    of_updates = sum(
        loop.launches * (loop.trips or 1)
        for loop in whole.loops
        if loop.trips == n // turn and "cond" in loop.name
    )
    beside = {"launches_per_vector_step_beside_updates": vector_step.launches - of_updates}
    return {
        "launches_per_update": update,
        **(beside if of_updates else {"launches_per_vector_step": vector_step.launches}),
        "launches_per_vector_step_of_bare_physics": bare,
        "launches_per_vector_step_of_physics_and_episodes": whole_episodes,
        "launches_of_resets": resets(config),
        **evaluation(config),
        "loops": [loop._asdict() for loop in whole.loops],
        "bytes": memory,
    }


if __name__ == "__main__":
    main()
