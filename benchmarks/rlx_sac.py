"""Run RL-X's SAC, compiled as a whole, on an environment of MuJoCo Playground.

`playground_peers.py` starts this with a Python that has RL-X. Every line of its trainer is theirs;
the environment is given their interface here. It begins anew, as Brax's does by default, from the
first state that each copy had, which costs no reset.
"""

import argparse
import json
import resource
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from mujoco_playground import registry
from rl_x.algorithms.sac.flax_full_jit.default_config import get_config
from rl_x.algorithms.sac.flax_full_jit.sac import SAC
from rl_x.environments.custom_mujoco.ant.mjx.box_space import BoxSpace
from rl_x.environments.custom_mujoco.ant.mjx.general_properties import GeneralProperties

LENGTH = 1000


@struct.dataclass
class State:
    """What RL-X's environments have, and the first state to begin anew from."""

    inner: Any
    first: Any
    steps: jax.Array
    next_observation: jax.Array
    actual_next_observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    info: dict[str, jax.Array]


class Environment:
    """Copies of an environment of Playground's."""

    general_properties = GeneralProperties
    horizon = LENGTH

    def __init__(self, task: str) -> None:
        self._env: Any = registry.load(task, config_overrides={"impl": "jax"})
        size = self._env.action_size
        ones = jnp.ones(size)
        self.single_action_space = BoxSpace(-ones, ones, (size,), jnp.float32)
        self.single_observation_space = BoxSpace(0, 0, (self._env.observation_size,), jnp.float32)

    def reset(self, keys: jax.Array, _: bool) -> State:
        inner = jax.vmap(self._env.reset)(keys)
        zeros = jnp.zeros(len(keys))
        info = {"rollout/episode_return": zeros}
        return State(inner, inner, zeros, inner.obs, inner.obs, zeros, zeros, info)

    def step(self, state: State, action: jax.Array) -> State:
        action = jnp.broadcast_to(action, (len(state.reward), action.shape[-1]))
        inner = jax.vmap(self._env.step)(state.inner, action)
        steps = state.steps + 1
        over = (inner.done > 0) | (steps >= LENGTH)

        def chosen(first: jax.Array, now: jax.Array) -> jax.Array:
            return jnp.where(over.reshape(-1, *(1,) * (now.ndim - 1)), first, now)

        return State(
            jax.tree.map(chosen, state.first, inner),
            state.first,
            jnp.where(over, 0, steps),
            chosen(state.first.obs, inner.obs),
            inner.obs,
            inner.reward,
            inner.done,
            {"rollout/episode_return": state.info["rollout/episode_return"] + inner.reward},
        )


def main() -> None:
    """Print iterations/s of epochs after the first, and the most memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("num_envs", "batch_size", "buffer_size", "epoch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--task", required=True)
    args = parser.parse_args()
    algorithm = get_config("sac.flax_full_jit")
    algorithm.buffer_size, algorithm.batch_size = args.buffer_size, args.batch_size
    algorithm.learning_starts, algorithm.logging_frequency = args.epoch, args.epoch
    algorithm.total_timesteps = 6 * args.epoch
    algorithm.evaluation_and_save_frequency = args.epoch
    runner = SimpleNamespace(
        save_model=False, track_console=False, track_tb=True, track_wandb=False
    )
    environment = SimpleNamespace(seed=0, nr_envs=args.num_envs, render=False)
    config = SimpleNamespace(algorithm=algorithm, runner=runner, environment=environment)
    rates: list[float] = []

    def log(name: str, value: Any, _: int) -> None:
        if name == "time/sps":
            rates.append(float(value))

    env = Environment(args.task)
    SAC(config, env, env, "", SimpleNamespace(add_scalar=log)).train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rates": rates[1:], "peak_bytes": peak}))  # the first compiles


if __name__ == "__main__":
    main()
