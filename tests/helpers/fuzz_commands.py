"""Play one case of `fuzz` in this process, which is the case's own: four commands."""

import json
import os
import pathlib
import sys
import traceback
from typing import Any

import numpy as np

from helpers.fuzz import SIZES, Case


def begin(case: Case, directory: pathlib.Path) -> None:
    """Make this process one that a user has started in `directory`."""
    os.setsid()
    os.chdir(directory)
    os.environ["FUZZ_CASE"] = case.dumps()
    os.environ["FUZZ_CHILDREN"] = str(directory / "children")
    os.environ["FUZZ_JOURNAL"] = str(directory / "journal")
    for number, name in ((0, os.devnull), (1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)


def _note(**entry: Any) -> None:
    with pathlib.Path(os.environ["FUZZ_JOURNAL"]).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def run(case: Case, real: bool) -> None:
    """Train, evaluate, export, predict, and write down how each ended; stop where one fails."""
    from helpers import fuzz_envs
    from mjx_sac import envs

    envs.register("fuzz", fuzz_envs.make)
    name = {"module": "helpers.fuzz_envs:make", "id": "helpers.fuzz_envs:Fuzz-v0"}
    env = name.get(case.way, "fuzz")
    healthy = case._replace(fault="").dumps()
    if case.during == "eval":
        os.environ["FUZZ_CASE"] = healthy
    timeout = 3 if case.fault == "slow" else 60
    flags = [f"--{field}={value}" for field, value in {**SIZES, "env_timeout": timeout}.items()]
    flags.append(f"--vectorization={'async' if case.kind == 'async' else 'sync'}")
    train = _train_with if case.way == "argument" else _command
    losses = None if real else _cheap_losses()
    ended = _note_end(
        "train", train, "train", f"--env={env}", "--logdir=run", *flags, losses=losses
    )
    os.environ["FUZZ_CASE"] = case.dumps()
    ended = ended or _note_end("eval", _command, "eval", "run", "--episodes=1", "--json")
    ended = ended or _note_end("export", _command, "export", "run", "--out=policy.npz")
    if not ended:
        _note_end("predict", _predict, case)


def _note_end(phase: str, function: Any, *arguments: Any, **kwargs: Any) -> int:
    _note(begins=phase)
    os.chdir(pathlib.Path(os.environ["FUZZ_JOURNAL"]).parent)  # as a person begins a command
    code = 0
    try:
        function(*arguments, **kwargs)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for file in (sys.stdout, sys.stderr):
        file.flush()
    _note(ends=phase, code=code)
    return code


def _command(*arguments: str, losses: Any = None) -> None:
    from mjx_sac.cli import app

    app.main(arguments, losses=losses)


def _train_with(_: str, *flags: str, losses: Any) -> None:
    """Train as a script does, with the environment as an argument."""
    import mjx_sac
    from helpers import fuzz_envs
    from mjx_sac.config import Config, TrainingError, UsageError, build

    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    config = build(Config, given)
    try:
        mjx_sac.train(config, env=fuzz_envs.make, losses=losses)
    except (UsageError, TrainingError) as error:
        print(f"mjx-sac: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 3)


def _cheap_losses() -> Any:
    """Compile in half the time of SAC's."""
    import jax
    import jax.numpy as jnp

    from mjx_sac.losses import Losses

    def loss(params: Any, state: Any, batch: Any, key: Any, *, networks: Any, config: Any) -> Any:
        del state, key, networks, config
        return sum(map(jnp.sum, jax.tree.leaves(params))) * jnp.mean(batch.reward), {
            "train/reward": jnp.mean(batch.reward)
        }

    return Losses(loss, loss, loss)


def _predict(case: Case) -> None:
    """Assert that the policy acts on what its space holds, as what was exported does."""
    from gymnasium import spaces

    import mjx_sac
    from helpers import fuzz_envs
    from mjx_sac.policy import numpy_policy

    policy, exported = mjx_sac.load_policy("run"), numpy_policy.load("policy.npz")
    if case.kind == "jax":
        space, action_space = (
            spaces.Box(-1, 1, x["shape"]) for x in (case.observation, case.action)
        )
    else:
        space, action_space = (fuzz_envs.space(x) for x in (case.observation, case.action))
    space.seed(0)
    observations = [fuzz_envs.finite(space.sample()) for _ in range(3)]
    bounds = np.float64([action_space.low.min(), action_space.high.max()])
    for observation in observations:
        for deterministic in (True, False):
            action, _ = policy.predict(observation, deterministic=deterministic)
            assert action_space.contains(action), (
                f"predict: {action!r} is not in the space of actions"
            )
        action = policy.predict(observation)[0]
        assert np.isfinite(action).all(), f"predict: {action!r}"
        flat = np.float32(spaces.flatten(space, observation))
        other = np.reshape(exported(flat[None])[0], action.shape)
        # Whole numbers may be rounded either way; half precision has three digits.
        near = {"i": 1, "u": 1, "b": 0}.get(action.dtype.kind, np.ptp(bounds) * 1e-4)
        close = np.isclose(np.float64(other), np.float64(action), rtol=2e-3, atol=near)
        assert close.all(), f"export: {other} is not predict's {action}"
