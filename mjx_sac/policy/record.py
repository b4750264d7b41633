"""Watch what was trained: a film through MuJoCo's or the environment's own renderer, or a page that a browser plays."""

# pyright: basic, reportAttributeAccessIssue=false
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mjx_sac import envs
from mjx_sac.config import EPISODE_LENGTH, UsageError, nearest
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import opengl, video, viewer
from mjx_sac.policy.policy import Policy

SIZE = (640, 480)


class Episode(NamedTuple):
    """What was recorded of an episode.

    Attributes:
      episode_return: sum of its rewards.
      length: in environment steps.
      ended: by itself or its time limit; otherwise the recording was over.
    """

    episode_return: float
    length: int
    ended: bool


class _Motion(NamedTuple):
    """An environment that goes on whenever the next of its moments is asked for.

    Attributes:
      moments: one at the start of every episode, and one after every step.
      dt: seconds between them.
      model: MuJoCo's, or None.
      bodies: of a moment, position and rotation of all bodies; may be called only before the next moment is asked for.
      image: of a moment, as `[height, width, 3]` bytes; likewise.
    """

    moments: Iterator[Any]
    dt: float
    model: Any
    bodies: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    image: Callable[[Any], np.ndarray]


def record(
    policy: Policy,
    out: pathlib.Path,
    *,
    episodes: int = 1,
    seconds: float = 10.0,
    camera: str | None = None,
) -> list[Episode]:
    """Plays the deterministic policy and writes what happens to `out`, at the speed at which it happens.

    Args:
      policy: see `load_policy`.
      out: ends in .mp4, .gif or .html; for the last nothing is drawn here. `gl.choose()`, before anything imports MuJoCo, finds
        what the others need.
      episodes: that many, each from its own initial state, one after the other.
      seconds: at most, of each episode.
      camera: one that the model names; by default one that follows, or MuJoCo's free one.

    Raises:
      UsageError: what should be recorded cannot be drawn, or `out` cannot be written.
    """
    video.check(out)
    env: Any = envs.make(policy.config.env, policy.config)
    limits = (policy.config.episode_length, getattr(env, "time_limit", None))
    plan = _Plan(episodes, seconds, min(filter(None, limits), default=EPISODE_LENGTH), [])
    prepare = _on_host if isinstance(env, GymnasiumEnvironment) else _on_device
    motion = prepare(policy, env, plan, out.suffix == ".html", camera)
    period = video.period(motion.dt, out.suffix)
    moments = video.thinned(motion.moments, motion.dt, period)
    if out.suffix == ".html":
        # Copies: the environment goes on in place.
        bodies = [tuple(np.array(part) for part in motion.bodies(moment)) for moment in moments]
        positions, rotations = (np.stack(part) for part in zip(*bodies, strict=True))
        title = f"{policy.config.env} after {policy.iterations:,} iterations"
        out.write_text(viewer.page(motion.model, positions, rotations, period, title))
    else:
        video.write(map(motion.image, moments), out, period)
    return plan.log


class _Plan(NamedTuple):
    """How many episodes, of how many seconds and steps at most, and where to write down what came of them."""

    episodes: int
    seconds: float
    limit: int
    log: list[Episode]


def _play(
    plan: _Plan,
    dt: float,
    repeat: int,
    *,
    reset: Callable[[int], Any],
    act: Callable[[Any], Any],
    step: Callable[[Any, Any], tuple[Any, Any, Any]],
) -> Iterator[Any]:
    """The moments of whole episodes.

    Args:
      plan: how many, and how long.
      dt: seconds in a step.
      repeat: steps that each action is held for.
      reset: of the number of the episode, the first moment.
      act: of a moment, the action.
      step: of moment and action, the next moment, the reward and whether the episode ended.
    """
    length = max(1, min(round(plan.seconds / dt), plan.limit))
    for episode in range(plan.episodes):
        moment, action, total = reset(episode), None, 0.0
        yield moment
        for i in range(length):
            action = act(moment) if i % repeat == 0 else action
            moment, reward, ended = step(moment, action)
            total += float(reward)
            yield moment
            if ended:
                break
        plan.log.append(Episode(total, i + 1, bool(ended)))


def _on_device(policy: Policy, env: Any, plan: _Plan, page: bool, camera: str | None) -> _Motion:
    """Brax's and Playground's environments, and others of a MuJoCo model whose states have `qpos`."""
    import jax

    name, inner = policy.config.env, getattr(env, "env", env)
    model = getattr(inner, "mj_model", None) or getattr(
        getattr(inner, "sys", None), "mj_model", None
    )
    if model is None or not hasattr(inner, "dt"):
        raise UsageError(
            f"env = {name!r}: cannot be drawn: it has no MuJoCo model (attributes `mj_model` and `dt`)"
        )
    advance, key = jax.jit(env.step), jax.random.PRNGKey(policy.config.seed)

    def first(episode: int) -> Any:
        return reset(jax.random.fold_in(key, episode))

    def step(state: Any, action: Any) -> Any:
        state, outcome = advance(state, action)
        return state, outcome.reward, bool(outcome.terminated) or bool(outcome.truncated)

    reset, act = jax.jit(env.reset), jax.jit(lambda state: policy.apply(state.observation))
    dt = float(inner.dt)
    moments = _play(plan, dt, policy.config.action_repeat, reset=first, act=act, step=step)
    data = _Data(model)
    image: Any = None if page else _renderer(model, camera)
    return _Motion(moments, dt, model, data.bodies, lambda state: image(data.set(state)))


class _Data:
    """MuJoCo's own data, for states of JAX environments."""

    def __init__(self, model: Any) -> None:
        import mujoco

        self._mujoco, self._model, self._data = mujoco, model, mujoco.MjData(model)

    def set(self, state: Any) -> Any:
        """The data with the state's positions."""
        inner, data = state.inner, self._data
        arrays = getattr(inner, "pipeline_state", getattr(inner, "data", inner))
        data.qpos[:] = arrays.qpos if hasattr(arrays, "qpos") else arrays.q
        for name in ("mocap_pos", "mocap_quat"):
            if hasattr(arrays, name):
                getattr(data, name)[:] = getattr(arrays, name)
        self._mujoco.mj_forward(self._model, data)
        return data

    def bodies(self, state: Any) -> tuple[np.ndarray, np.ndarray]:
        data = self.set(state)
        return data.xpos, data.xquat


def _renderer(model: Any, camera: str | None) -> Callable[[Any], np.ndarray]:
    """Draws MuJoCo's data."""
    import mujoco

    view = _camera(model, camera)
    width, height = SIZE
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # whatever a GL library raises
        raise UsageError(f"MUJOCO_GL: cannot draw ({error}): {opengl.WAY_OUT}") from None

    def image(data: Any) -> np.ndarray:
        renderer.update_scene(data, camera=view)
        return renderer.render()

    return image


def _camera(model: Any, name: str | None) -> Any:
    """The one called `name`; otherwise the model's own that follows, or a free one, which follows what is not fixed."""
    import mujoco

    names = [model.camera(i).name for i in range(model.ncam)]
    if name is not None:
        if name not in names:
            hint = (
                nearest(name, names)
                or f"; there are {', '.join(filter(None, names)) or 'none with a name'}"
            )
            raise UsageError(f"camera = {name!r}: the model has no such camera{hint}")
        return name
    for i in range(model.ncam):
        if int(model.cam_mode[i]) in (
            int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK),
            int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM),
        ):
            return i
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    if int(mujoco.mjtJoint.mjJNT_FREE) in model.jnt_type:
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
    return camera


def _on_host(
    policy: Policy, env: GymnasiumEnvironment, plan: _Plan, page: bool, camera: str | None
) -> _Motion:
    """Gymnasium's environments, which draw themselves."""
    shown = env.showing(camera, draw=not page)
    model: Any = getattr(shown.unwrapped, "model", None)
    if page and model is None:
        raise UsageError(
            f"env = {env.name!r}: has no MuJoCo model, which an .html shows: record an .mp4 or .gif"
        )
    if camera and model:  # Gymnasium itself takes another one in silence
        _camera(model, camera)
    dt = 1 / (shown.metadata.get("render_fps") or 30)

    def step(_: Any, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = shown.step(action)
        return observation, reward, terminated or truncated

    def reset(episode: int) -> Any:
        return shown.reset(seed=policy.config.seed + episode)[0]

    def image(_: Any) -> np.ndarray:
        try:
            return np.asarray(shown.render())
        except Exception as error:
            way_out = f": {opengl.WAY_OUT}" if model else ""
            raise UsageError(f"env = {env.name!r}: cannot draw itself: {error}{way_out}") from None

    moments = _play(
        plan,
        dt,
        policy.config.action_repeat,
        reset=reset,
        act=lambda x: policy.predict(x)[0],
        step=step,
    )
    data: Any = getattr(shown.unwrapped, "data", None)
    return _Motion(moments, dt, model, lambda _: (data.xpos, data.xquat), image)
