"""Record what was trained: a video of its renderer's images, or a page that a browser plays."""

# pyright: basic, reportAttributeAccessIssue=false
import contextlib
import pathlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import UsageError, absolute, nearest, ordinary_jax, staying, surroundings
from mjx_sac.envs.base import episode_length
from mjx_sac.envs.host.checked import close, seed_spaces
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.spaces import mujoco_model
from mjx_sac.policy import opengl, video, viewer
from mjx_sac.policy.policy import Policy, place


class Episode(NamedTuple):
    """A recorded episode.

    Attributes:
      episode_return: sum of its rewards.
      length: in environment steps.
      ended: by itself or its time limit; otherwise the recording was over.
    """

    episode_return: float
    length: int
    ended: bool


@staying()
@ordinary_jax()
def record(
    policy: Policy,
    out: str | pathlib.Path,
    *,
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
      episodes: how many, one after the other, each from another initial state.
      seconds: of each episode at most.
      camera: one that the model names; by default one that follows, or MuJoCo's free one.
      other: see `evaluate_policies`.

    Raises:
      UsageError: the environment has other sizes or cannot be drawn, an extra is not installed, or
        `out` cannot be written.
    """
    out = absolute(out)
    video.check(out)
    surroundings.seed_generators(0)
    policy, environment = place(policy, other)
    kind = _HostScene if isinstance(environment, GymnasiumEnvironment) else _DeviceScene
    scene = kind(policy, environment, camera, draw=out.suffix != ".html")
    limit = episode_length(environment, policy.config)
    length = max(1, min(round(seconds / scene.dt), limit))
    log: list[Episode] = []
    with contextlib.closing(scene):
        played = _play(scene, episodes, length, policy.config.action_repeat, log)
        period = video.period(scene.dt, out.suffix)
        shown = video.thinned(played, scene.dt, period)
        if out.suffix == ".html":
            title = f"{policy.config.env} after {policy.iterations:,} iterations"
            moments = [(total, _pose(scene.data())) for total in shown]
            returns, poses = zip(*moments, strict=True)
            page = viewer.page(scene.model, np.stack(poses), period, title, returns)
            out.write_text(page, encoding="utf-8")
        else:
            video.write((scene.image() for _ in shown), out, period)
    return log


def _pose(data: Any) -> np.ndarray:
    return np.concatenate([data.xpos, data.xquat], axis=-1)


def _play(
    scene: Any, episodes: int, length: int, action_repeat: int, log: list[Episode]
) -> Iterator[float]:
    """Play episodes of at most `length` steps; stop after each reset and step to have it shown, and
    yield the return so far.
    """
    for episode in range(episodes):
        scene.reset(episode)
        action, total, steps, ended = None, 0.0, 0, False
        yield total
        while steps < length and not ended:
            if steps % action_repeat == 0:
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
            raise UsageError(
                f"env = {policy.config.env!r}: cannot be drawn: it has no MuJoCo model (attributes "
                f"`mj_model` and `dt`)"
            )
        self.dt = float(inner.dt)  # seconds in a step
        self._forward, self._data = mujoco.mj_forward, mujoco.MjData(self.model)
        if draw:
            self._camera = _camera(self.model, camera)
            buffer = self.model.vis.global_
            width, height = buffer.offwidth, buffer.offheight = 640, 480
            try:
                self._renderer = mujoco.Renderer(self.model, height, width)
            except Exception as error:  # whatever a GL library raises
                raise UsageError(f"MUJOCO_GL: cannot draw ({error}): {opengl.WAY_OUT}") from None
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
        """Return MuJoCo's data with the state's positions."""
        inner, data = self._state.inner, self._data
        arrays = getattr(inner, "pipeline_state", getattr(inner, "data", inner))
        data.qpos[:] = arrays.qpos if hasattr(arrays, "qpos") else arrays.q
        for name in ("mocap_pos", "mocap_quat"):
            if hasattr(arrays, name):
                getattr(data, name)[:] = getattr(arrays, name)
        self._forward(self.model, data)
        return data

    def close(self) -> None:
        """Do nothing: it holds nothing that the process would leave behind."""

    def image(self) -> np.ndarray:
        self._renderer.update_scene(self.data(), camera=self._camera)
        return self._renderer.render()


class _HostScene:
    """One of Gymnasium's environments, which draws itself."""

    def __init__(self, policy: Policy, env: Any, camera: str | None, draw: bool) -> None:
        self._policy, self._name = policy, env.name
        self._env = env.showing(camera, draw=draw)
        self.model: Any = getattr(self._env.unwrapped, "model", None)
        self.dt = 1 / (self._env.metadata.get("render_fps") or 30)
        if not draw and self.model is None:
            raise UsageError(
                f"env = {env.name!r}: has no MuJoCo model, which an .html shows: record an .mp4 or "
                f".gif"
            )
        if camera and self.model:  # Gymnasium itself takes another one in silence
            _camera(self.model, camera)
        renderer = getattr(self._env.unwrapped, "mujoco_renderer", None)
        if renderer and isinstance(chosen := _camera(self.model, camera), int):
            renderer.camera_id = chosen  # the one of Gymnasium 1.4 does not follow

    def reset(self, episode: int) -> None:
        seed = self._policy.config.seed + episode
        seed_spaces(self._env, seed)
        self._observation, _ = self._env.reset(seed=seed)
        self._memory: Any = None

    def act(self) -> np.ndarray:
        starts = self._memory is None
        action, self._memory = self._policy.predict(self._observation, self._memory, starts)
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
