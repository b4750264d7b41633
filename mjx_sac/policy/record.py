"""Record what was trained: a video of its renderer's images, or a page that a browser plays."""

# pyright: basic, reportAttributeAccessIssue=false
import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import UsageError, absolute, nearest, ordinary_jax, staying, surroundings
from mjx_sac.envs.base import episode_length
from mjx_sac.envs.host.checked import close, seed_spaces
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.spaces import mujoco_model, posed
from mjx_sac.policy import opengl, video, viewer
from mjx_sac.policy.policy import Policy, place


class Episode(NamedTuple):
    """A recorded episode.

    Attributes:
      episode_return: sum of its rewards.
      length: in environment steps.
      ended: by itself or its time limit; otherwise the recording was over.
      ghost: the other policy's episode, from the same initial state.
    """

    episode_return: float
    length: int
    ended: bool
    ghost: "Episode | None" = None


@staying()
@ordinary_jax()
def record(
    policy: Policy,
    out: str | pathlib.Path,
    *,
    ghost: Policy | None = None,
    episodes: int = 1,
    seconds: float = 10.0,
    camera: str | None = None,
    **other: Any,
) -> list[Episode]:
    """Play the deterministic policy and write what happens to `out`, at its own speed.

    Args:
      policy: see `load_policy`.
      out: ends in .mp4, .gif or .html; for the last nothing is drawn here. `opengl.choose()`,
        before anything imports MuJoCo, finds what the others need.
      ghost: another policy, shown translucent in the same scene. Its episodes begin in the same
        states; the one that ends first stands still until the other has ended.
      episodes: how many, one after the other, each from another initial state.
      seconds: of each episode at most.
      camera: one that the model names; by default one that follows, or MuJoCo's free one.
      other: see `evaluate_policies`.

    Raises:
      UsageError: the environment has other sizes or cannot be drawn, or is not the ghost's; an
        extra is not installed; or `out` cannot be written.
    """
    out = absolute(out)
    video.check(out)
    surroundings.seed_generators(0)
    policies = [policy, _beside(policy, ghost, other)] if ghost else [policy]
    with contextlib.ExitStack() as stack:
        scenes: list[Any] = []
        for placed, environment in (place(one, other) for one in policies):
            host = isinstance(environment, GymnasiumEnvironment)
            itself = host and out.suffix != ".html" and not ghost  # draws itself
            scene = (_HostScene if host else _DeviceScene)(placed, environment, camera, draw=itself)
            scenes.append(stack.enter_context(contextlib.closing(scene)))
        first, logs = scenes[0], [[] for _ in scenes]
        period = video.period(first.dt, out.suffix)
        shown = video.thinned(_play(scenes, episodes, seconds, logs), first.dt, period)
        if out.suffix == ".html":
            moments = [(totals, [_pose(x.data()) for x in scenes]) for totals in shown]
            returns, poses = (np.swapaxes(x, 0, 1) for x in zip(*moments, strict=True))
            title = f"{first.policy.config.env} after {policy.iterations:,} iterations"
            beside = (_name(ghost), poses[1], returns[1]) if ghost else None
            page = viewer.page(first.model, poses[0], period, title, returns[0], beside)
            out.write_text(page, encoding="utf-8")
        else:
            image = first.image if itself else _drawing(scenes, camera)
            video.write((image() for _ in shown), out, period)
    log, *others = logs
    return [x._replace(ghost=y) for x, y in zip(log, *others, strict=True)] if ghost else log


def _beside(policy: Policy, ghost: Policy, other: Mapping[str, Any]) -> Policy:
    """Return `ghost` with the initial states of `policy`; UsageError if its environment differs."""
    config = policy.config
    changed = {name for name, value in other.items() if value}
    for name in ("env", "env_options", "backend"):
        ours, its = getattr(config, name), getattr(ghost.config, name)
        if ours != its and not changed & {name, "env"}:
            problem = f"the second run was trained with it, the first with {ours!r}"
            way_out = "show two runs of one environment, or both in another --env"
            raise UsageError(f"{name} = {its!r}: {problem}: {way_out}")
    return dataclasses.replace(ghost, config=ghost.config.model_copy(update={"seed": config.seed}))


def _name(policy: Policy) -> str:
    run = pathlib.PurePath(policy.config.run_dir).name
    return f"{run} after {policy.iterations:,} iterations"


def _pose(data: Any) -> np.ndarray:
    return np.concatenate([data.xpos, data.xquat], axis=-1)


def _play(
    scenes: list[Any], episodes: int, seconds: float, logs: list[list[Episode]]
) -> Iterator[list[float]]:
    """Play episodes in all scenes at once; stop after each reset and step to have it shown, and
    yield the returns so far.
    """
    for episode in range(episodes):
        both = zip(scenes, logs, strict=True)
        playing = [_play_one(scene, episode, seconds, log) for scene, log in both]
        totals: list[Any] = [None] * len(scenes)
        for new in itertools.zip_longest(*playing):
            pairs = zip(new, totals, strict=True)
            totals = [before if now is None else now for now, before in pairs]
            yield totals


def _play_one(scene: Any, episode: int, seconds: float, log: list[Episode]) -> Iterator[float]:
    config = scene.policy.config
    length = max(1, min(round(seconds / scene.dt), scene.limit))
    scene.reset(episode)
    action, total, steps, ended = None, 0.0, 0, False
    yield total
    while steps < length and not ended:
        if steps % config.action_repeat == 0:
            action = scene.act()
        reward, ended = scene.step(action)
        total, steps = total + float(reward), steps + 1
        yield total
    log.append(Episode(total, steps, bool(ended)))


class _DeviceScene:
    """An environment in JAX with a MuJoCo model, whose states have `qpos`: Brax's, Playground's."""

    def __init__(self, policy: Policy, env: Any, camera: str | None, draw: bool) -> None:
        import jax
        import mujoco

        inner = getattr(env, "env", env)
        self.model = mujoco_model(inner)
        if self.model is None or not hasattr(inner, "dt"):
            problem = "it has no MuJoCo model (attributes `mj_model` and `dt`)"
            raise UsageError(f"env = {policy.config.env!r}: cannot be drawn: {problem}")
        self.dt = float(inner.dt)  # seconds in a step
        self.policy, self.limit = policy, episode_length(env, policy.config)
        self._data = mujoco.MjData(self.model)
        self._key = partial(jax.random.fold_in, jax.random.PRNGKey(policy.config.seed))
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._act = jax.jit(lambda state, memory: policy.act(state.observation, memory))

    def reset(self, episode: int) -> None:
        self._state: Any = self._reset(self._key(episode))
        self._memory: Any = None

    def act(self) -> Any:
        action, self._memory = self._act(self._state, self._memory)
        return action

    def step(self, action: Any) -> tuple[Any, bool]:
        self._state, step = self._step(self._state, action)
        return step.reward, bool(step.terminated) or bool(step.truncated)

    def data(self) -> Any:
        return posed(self.model, self._data, self._state.inner)

    def close(self) -> None:
        """Do nothing: it holds nothing that the process would leave behind."""


class _HostScene:
    """One of Gymnasium's environments, which draws itself."""

    def __init__(self, policy: Policy, env: Any, camera: str | None, draw: bool) -> None:
        self.policy, self.limit = policy, episode_length(env, policy.config)
        self._name = env.name
        self._env = env.showing(camera, draw=draw)
        self.model: Any = getattr(self._env.unwrapped, "model", None)
        self.dt = 1 / (self._env.metadata.get("render_fps") or 30)
        if not draw and self.model is None:
            problem = "has no MuJoCo model, which an .html or a second run needs"
            raise UsageError(f"env = {env.name!r}: {problem}: record one run to an .mp4 or .gif")
        if camera and self.model:  # Gymnasium itself takes another one in silence
            _camera(self.model, camera)
        renderer = getattr(self._env.unwrapped, "mujoco_renderer", None)
        if renderer and isinstance(chosen := _camera(self.model, camera), int):
            renderer.camera_id = chosen  # the one of Gymnasium 1.4 does not follow

    def reset(self, episode: int) -> None:
        seed = self.policy.config.seed + episode
        seed_spaces(self._env, seed)
        self._observation, _ = self._env.reset(seed=seed)
        self._memory: Any = None

    def act(self) -> np.ndarray:
        starts = self._memory is None
        action, self._memory = self.policy.predict(self._observation, self._memory, starts)
        return action

    def step(self, action: Any) -> tuple[Any, bool]:
        self._observation, reward, terminated, truncated, _ = self._env.step(np.array(action))
        return reward, terminated or truncated

    def close(self) -> None:
        close(self._env, "the environment")

    def data(self) -> Any:
        return self._env.unwrapped.data

    def image(self) -> np.ndarray:
        try:
            return np.asarray(self._env.render())
        except Exception as error:
            reason = f"{error}: {opengl.WAY_OUT}" if self.model else error
            raise UsageError(f"env = {self._name!r}: cannot draw itself: {reason}") from None


def _drawing(scenes: list[Any], name: str | None) -> Callable[[], np.ndarray]:
    """Return what draws the first scene, and translucent in it what moves in the others."""
    import mujoco

    first, *others = scenes
    camera, size = _camera(first.model, name), first.model.vis.global_
    width, height = size.offwidth, size.offheight = 640, 480
    try:
        renderer = mujoco.Renderer(first.model, height, width)
    except Exception as error:  # whatever a GL library raises
        raise UsageError(f"MUJOCO_GL: cannot draw ({error}): {opengl.WAY_OUT}") from None
    moving = int(mujoco.mjtCatBit.mjCAT_DYNAMIC)
    option, hand = mujoco.MjvOption(), mujoco.MjvPerturb()

    def image() -> np.ndarray:
        renderer.update_scene(first.data(), camera=camera)
        scene = renderer.scene
        for other in others:
            before = scene.ngeom
            mujoco.mjv_addGeoms(other.model, other.data(), option, hand, moving, scene)
            for geom in scene.geoms[before : scene.ngeom]:
                geom.rgba[3] *= viewer.GHOST
        return renderer.render()

    return image


def _camera(model: Any, name: str | None) -> Any:
    """Return the camera called `name`; by default one that follows, or MuJoCo's free one."""
    import mujoco

    names = [model.camera(i).name for i in range(model.ncam)]
    if name in names:
        return name
    if name is not None:
        there = ", ".join(filter(None, names)) or "none with a name"
        hint = nearest(name, names) or f"; there are {there}"
        raise UsageError(f"camera = {name!r}: the model has no such camera{hint}")
    modes = mujoco.mjtCamLight.mjCAMLIGHT_TRACK, mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM
    following = np.flatnonzero(np.isin(model.cam_mode, [int(mode) for mode in modes]))
    if following.size:
        return int(following[0])
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    if int(mujoco.mjtJoint.mjJNT_FREE) in model.jnt_type:
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
    return camera
