"""`mjx-sac record`: a film of a trained policy, or a page."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mjx_sac import envs
from mjx_sac.cli import flags
from mjx_sac.cli.output import size
from mjx_sac.config import UsageError, absolute
from mjx_sac.policy import opengl, video
from mjx_sac.runs import resolve, stored_policy
from mjx_sac.training.host.console import print_line


def record(
    run: flags.RunDirectory,
    ghost: Annotated[str | None, typer.Argument(help="one beside it", metavar="RUN2")] = None,
    out: Annotated[Path | None, flags.option("an .mp4, .gif or .html; else RUN.mp4")] = None,
    episodes: Annotated[int, flags.option("how many, one after the other", min=1)] = 1,
    seconds: Annotated[float, flags.option("of each episode at most", min=0.1)] = 10.0,
    camera: Annotated[str | None, flags.option("of the model's; else one follows")] = None,
    step: flags.Step = None,
    seed_index: flags.BestAgent = None,
    env: flags.OtherEnv = None,
    env_option: flags.OtherOptions = None,
    backend: flags.OtherBackend = None,
    device: flags.Device = "auto",
    edited_algorithm: flags.EditedAlgorithm = False,
) -> None:
    """Film the deterministic policy.

    RUN2's newest policy is shown translucent, from the same states; --step and --seed_index are
    RUN's.

    An .html is shown by any browser, offline, and needs no OpenGL here; it shows MuJoCo models
    only. Films are drawn through OpenGL: MUJOCO_GL is chosen (egl, then osmesa) unless it is set.

    Example: mjx-sac record runs/ant --out ant.mp4
    """
    out = out or Path(f"{Path(run).resolve().name}.mp4")
    target = absolute(out)
    stored = stored_policy.find(run, step, edited_algorithm=edited_algorithm)
    config, _ = stored_policy.choose_agent(stored, seed_index)
    where = env or config.env
    video.check(target)
    # Before anything imports MuJoCo, which settles it: a check of the environment may.
    problem = None if out.suffix == ".html" else opengl.choose()
    if problem and envs.by_brax(where):
        raise UsageError(f"MUJOCO_GL: no OpenGL here ({problem}): {opengl.WAY_OUT}")
    envs.check(where, "jax" if env else config.impl)
    resolve.check_device(device)
    from mjx_sac.policy import record
    from mjx_sac.policy.policy import load_policy
    from mjx_sac.training.host.device import set_up

    set_up(device)
    # `find` has compared the algorithm's file.
    policy = load_policy(stored.directory, step, seed_index=seed_index, edited_algorithm=True)
    beside = load_policy(ghost, edited_algorithm=edited_algorithm) if ghost else None
    slow = "; compiling takes half a minute and more" if envs.by_brax(where) else ""
    print_line(f"playing {where} as trained for {policy.iterations:,} iterations{slow}")
    started = time.perf_counter()
    how: Any = {"episodes": episodes, "seconds": seconds, "camera": camera, "ghost": beside}
    other: Any = {"env": env, "env_options": env_option, "backend": backend}
    played = record.record(policy, target, **how, **other)
    for i, episode in enumerate(played, 1):
        _say(f"episode {i}", episode)
        if episode.ghost:
            _say("translucent", episode.ghost)
    print_line(f"{out}: {size(target.stat().st_size)} in {time.perf_counter() - started:.0f} s")


def _say(which: str, episode: Any) -> None:
    end = f"{'ended' if episode.ended else 'cut off'} after {episode.length:,} steps"
    print_line(f"{which}: return {episode.episode_return:,.1f}, {end}")
