r"""Hold the tasks of `mjx/` against Gymnasium's, which C simulates, and time them.

For each task 16 episodes of 100 random actions, the same in C and in JAX: how far observation,
reward and termination are apart after one step from every fifth state that C came to, and after 1,
10 and 100 steps from the same first state. Numbers are relative, |ours - theirs| / (1 + |theirs|),
the largest of a vector. Beside them, how far C itself ends up where its first state is moved by
1e-14 or 1e-7: rounding does as much, and where contacts amplify it nothing can be closer.

    python benchmarks/mjx_tasks.py --json benchmarks/results/mjx_tasks.json

Variants: `float64` and `float32` are exact; `fast` is float32 with `--env_option solver=fast`;
`warp` is `--impl warp`. In `c_newton` C itself has the solver of MJX: Gymnasium's humanoids have
PGS, whose 50 iterations stop before it has converged. Compiling is most of the time (10 to 60 s
each): `--tasks` does some, and other tasks in the file stay if versions are the same.
"""

# pyright: basic, reportAttributeAccessIssue=false
import argparse
import copy
import json
import pathlib
import statistics
import time
from typing import Any, NamedTuple

import common
import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_sac.envs.base import physics_precision
from mjx_sac.envs.tasks import SIZES
from mjx_sac.envs.tasks.environment import MujocoTask, Physics, TaskState
from mjx_sac.runs import provenance

EPISODES, STEPS, EVERY, AFTER = 16, 100, 5, (1, 10, 100)
MOVED = {"float64": 1e-14, "float32": 1e-7}
TURNS, TURN_STEPS = 3, 10


class Walk(NamedTuple):
    """What C did. Arrays are [STEPS, EPISODES, ...]; states are those before each step."""

    qpos: np.ndarray
    qvel: np.ndarray
    warmstart: np.ndarray
    place: np.ndarray
    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def walk(task: MujocoTask, name: str, actions: np.ndarray, moved: float, newton: bool) -> Walk:
    """Step Gymnasium's environments, first states `moved` by so much."""
    hosts: Any = [gymnasium.make(name).unwrapped for _ in range(EPISODES)]
    rows = []
    low, high = task.mj_model.actuator_ctrlrange.T
    for seed, host in enumerate(hosts):
        if newton:
            host.model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        host.reset(seed=seed)
        noise = np.random.default_rng(seed).normal(size=host.model.nq)
        host.set_state(host.data.qpos + moved * noise, host.data.qvel.copy())
    for controls in low + (actions.astype(np.float64) + 1) / 2 * (high - low):
        row = []
        for host, control in zip(hosts, controls, strict=True):
            data = host.data
            before = data.qpos.copy(), data.qvel.copy(), data.qacc_warmstart.copy()
            place = np.array(task.place(data))
            row.append((*before, place, *host.step(control)[:3]))
        rows.append([np.stack(x) for x in zip(*row, strict=True)])
    return Walk(*(np.stack(x) for x in zip(*rows, strict=True)))


def apart(ours: Any, theirs: Any) -> np.ndarray:
    """Return the largest relative distance of each row."""
    distance = np.abs(np.asarray(ours) - theirs) / (1 + np.abs(theirs))
    return distance.reshape(len(distance), -1).max(axis=1)


def summary(observation: Any, reward: Any, wrong: Any) -> dict[str, Any]:
    """Return medians and largest distances over episodes, and how often terminations differ."""
    return {
        "observation": [float(f"{f(observation):.2g}") for f in (np.median, np.max)],
        "reward": [float(f"{f(reward):.2g}") for f in (np.median, np.max)],
        "other_terminations": int(np.sum(wrong)),
    }


def compare(ours: Walk, theirs: Walk) -> dict[str, Any]:
    """Return distances of two walks after some steps."""
    found = {}
    for n in AFTER:
        rows = zip(ours, theirs, strict=True)
        *_, observation, reward, terminated = ((x[n - 1], y[n - 1]) for x, y in rows)
        wrong = np.not_equal(*terminated)
        found[str(n)] = summary(apart(*observation), apart(*reward), wrong)
    return found


class Program:
    """The compiled step of EPISODES copies."""

    def __init__(self, name: str, variant: str) -> None:
        self.wide = variant == "float64"
        impl, solver = ("warp" if variant == "warp" else "jax"), "exact"
        with jax.enable_x64(self.wide), physics_precision():
            given = {"solver": "fast" if variant == "fast" else solver}
            self.task = MujocoTask(name, impl, given, copies=EPISODES)
            self.step = jax.jit(jax.vmap(self.task.step))
            started = time.perf_counter()
            numbers = jnp.zeros(0).dtype
            keys = jax.ShapeDtypeStruct((EPISODES, 2), jnp.uint32)
            state = jax.eval_shape(jax.vmap(self.task.reset), keys)
            actions = jax.ShapeDtypeStruct((EPISODES, self.task.action_size), numbers)
            self.step = self.step.lower(state, actions).compile()
            self.blank, self.dtype = state, numbers
            self.compile_seconds = round(time.perf_counter() - started, 1)

    def state(self, walk: Walk, i: int) -> TaskState:
        """Return the states that C had before step `i`."""
        arrays = (walk.qpos[i], walk.qvel[i], walk.warmstart[i], walk.place[i])
        with jax.enable_x64(self.wide):
            state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.blank)
            return state.replace(inner=Physics(*(jnp.array(x, self.dtype) for x in arrays)))

    def __call__(self, state: TaskState, actions: np.ndarray) -> Any:
        with jax.enable_x64(self.wide):
            return self.step(state, jnp.array(actions, self.dtype))

    def deviations(self, theirs: Walk, actions: np.ndarray) -> dict[str, Any]:
        """Return distances from C, after a step from each state and after many."""
        free, ours, distances = self.state(theirs, 0), [], []
        for i, action in enumerate(actions):
            free, step = self(free, action)
            ours.append((step.observation, step.reward, step.terminated))
            if i % EVERY == 0:
                _, one = self(self.state(theirs, i), action)
                seen, reward = theirs.observation[i], theirs.reward[i]
                wrong = np.asarray(one.terminated) != theirs.terminated[i]
                distances.append((apart(one.observation, seen), apart(one.reward, reward), wrong))
        blank = (theirs.qpos, theirs.qvel, theirs.warmstart, theirs.place)
        rows = (np.stack(x) for x in zip(*ours, strict=True))
        return {
            "one_step": summary(*(np.stack(x) for x in zip(*distances, strict=True))),
            "after": compare(Walk(*blank, *rows), theirs),
        }


def speeds(programs: dict[str, Program], theirs: Walk, actions: np.ndarray) -> dict[str, float]:
    """Return environment steps per second, in turns."""
    states = {name: program.state(theirs, 50) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(TURNS):
        for name, program in programs.items():
            state, started = states[name], time.perf_counter()
            for action in actions[50 : 50 + TURN_STEPS]:
                state, _ = program(state, action)
            jax.block_until_ready(state)
            seconds[name].append(time.perf_counter() - started)
    n = EPISODES * TURN_STEPS
    return {name: float(f"{n / statistics.median(x):.3g}") for name, x in seconds.items()}


def measure(name: str, variants: list[str]) -> dict[str, Any]:
    """Return all figures of a task."""
    task = MujocoTask(name)
    size = (STEPS, EPISODES, task.action_size)
    actions = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    pgs = task.mj_model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
    theirs = walk(task, name, actions, 0, newton=False)
    newton = walk(task, name, actions, 0, newton=True) if pgs else theirs
    found: dict[str, Any] = {
        f"c_moved_by_{moved:g}": compare(walk(task, name, actions, moved, newton=False), theirs)
        for moved in MOVED.values()
    }
    if pgs:
        found["c_newton"] = compare(newton, theirs)
    programs = {variant: Program(name, variant) for variant in variants}
    for variant, program in programs.items():
        found[variant] = {"compile_seconds": program.compile_seconds}
        found[variant] |= program.deviations(theirs, actions)
        if pgs and variant == "float64":
            found["float64_against_c_newton"] = program.deviations(newton, actions)
    timed = {name: program for name, program in programs.items() if name != "float64"}
    for variant, speed in speeds(timed, theirs, actions).items():
        found[variant]["steps_per_second"] = speed
    return found


def main() -> None:
    """Measure, print and write after each task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=[*SIZES], choices=SIZES)
    parser.add_argument("--variants", nargs="+", default=["float64", "float32", "fast"])
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    there = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    same = there.get("measured_with", {}).get("versions") == provenance.versions()
    tasks = copy.copy(there["tasks"]) if same else {}
    for name in args.tasks:
        tasks[name] = tasks.get(name, {}) | measure(name, args.variants)
        settings = {"episodes": EPISODES, "steps": STEPS, "num_envs": EPISODES}
        common.write({"benchmark": "mjx_tasks", **settings, "tasks": tasks}, args.json)
        jax.clear_caches()


if __name__ == "__main__":
    main()
