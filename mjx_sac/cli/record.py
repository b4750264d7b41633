"""`mjx-sac record`: a film of what was trained, or a page."""

import pathlib
import time
from typing import Annotated

import typer

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.policy import opengl, video
from mjx_sac.runs import stored_policy
from mjx_sac.runs.resolve import check_device
from mjx_sac.training.host.console import print_line


def record(
    run: Annotated[
        pathlib.Path, typer.Argument(help="a run's directory", metavar="RUN", show_default=False)
    ],
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="ends in .mp4, .gif or .html (default the run's name .mp4)", show_default=False
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="how many, one after the other")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="of each episode at most")] = 10.0,
    camera: Annotated[
        str | None,
        typer.Option(
            help="one that the model names (default one that follows)", show_default=False
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(help="iterations of the checkpoint (default the newest)", show_default=False),
    ] = None,
    seed_index: Annotated[
        int | None,
        typer.Option(
            "--seed_index",
            help="which of several agents, from 0 (default the best at the last evaluation)",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="where to compute: auto, cpu, gpu or tpu")] = "auto",
) -> None:
    """Film what was trained.

    The deterministic policy is played. An .html is shown by any browser, offline, and needs no OpenGL here; it shows MuJoCo
    models alone. Films are drawn through OpenGL: MUJOCO_GL is chosen (egl, then osmesa) unless it is set.

    Example: mjx-sac record runs/ant --out ant.mp4
    """
    out = out or pathlib.Path(f"{run.resolve().name}.mp4")
    config, _ = stored_policy.choose_agent(stored_policy.find(run, step), seed_index)
    envs.check(config.env, config.impl)
    check_device(device)
    video.check(out)
    problem = (
        None if out.suffix == ".html" else opengl.choose()
    )  # first of all: whatever imports MuJoCo settles it
    if problem and envs.by_brax(config.env):
        raise UsageError(f"MUJOCO_GL: no OpenGL here ({problem}): {opengl.WAY_OUT}")
    from mjx_sac.policy import record
    from mjx_sac.policy.policy import load_policy
    from mjx_sac.training.host.device import set_up

    set_up(device)
    policy = load_policy(run, step, seed_index=seed_index)
    first = "; compiling it takes half a minute and more" if envs.by_brax(config.env) else ""
    print_line(f"playing {config.env} as trained for {policy.iterations:,} iterations{first}")
    started = time.perf_counter()
    log = record.record(policy, out, episodes=episodes, seconds=seconds, camera=camera)
    for i, episode in enumerate(log):
        how = "ended" if episode.ended else "cut off"
        print_line(
            f"episode {i + 1}: return {episode.episode_return:,.1f}, {how} after {episode.length:,} steps"
        )
    print_line(
        f"{out}: {out.stat().st_size / 1e6:,.1f} MB in {time.perf_counter() - started:.0f} s"
    )
