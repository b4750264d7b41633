"""Our environments as Gymnasium's.

`gymnasium.make("mjx_sac/ant")` gives one, `gymnasium.make_vec("mjx_sac/ant", 64)` many in one
compiled step on the device; `mjx_sac/Ant-v5` is `mjx/Ant-v5`. Importing this module makes Gymnasium
know the names, so `gymnasium.make("mjx_sac.envs.to_gymnasium:mjx_sac/ant")` needs no import at all.
The shorter of `max_episode_steps` and an environment's own time limit counts.
"""

# pyright: basic, reportAttributeAccessIssue=false
import math
from typing import Any, ClassVar

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mjx_sac import envs
from mjx_sac.config import EPISODE_LENGTH, Config
from mjx_sac.envs.episodes import Episodes
from mjx_sac.envs.registry import register_with_gymnasium
from mjx_sac.envs.spaces import mujoco_model, posed

register_with_gymnasium()


def _spaces(env: Any) -> tuple[Box, Box]:
    """Return the spaces of one environment's observations and actions."""
    observation = Box(-np.inf, np.inf, (env.observation_size,), np.float32)
    return observation, Box(-1.0, 1.0, (env.action_size,), np.float32)


def _key(random: np.random.Generator) -> np.ndarray:
    """Draw a raw JAX key."""
    return random.integers(2**32, size=2, dtype=np.uint32)


class DeviceEnv(gymnasium.Env):
    """One environment. `gymnasium.make` adds `max_episode_steps`."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        name: str,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera: str | None = None,
        **env_options: Any,
    ) -> None:
        """Make `name` with options; the rest is for `render`, sizes in pixels."""
        env: Any = envs.make(name, Config(env=name, env_options=env_options))
        self.render_mode, self._size, self._camera = render_mode, (height, width), camera
        self.observation_space, self.action_space = _spaces(env)
        self._env, self._reset, self._step = env, jax.jit(env.reset), jax.jit(env.step)
        self._limit = getattr(env, "time_limit", None) or math.inf
        if dt := getattr(getattr(env, "env", env), "dt", None):
            self.metadata = {**self.metadata, "render_fps": round(1 / float(dt))}
        self._state: Any = None
        self._renderer: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._state, self._steps = self._reset(_key(self.np_random)), 0
        return np.array(self._state.observation, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._state, step = self._step(self._state, np.asarray(action, np.float32))
        self._steps += 1
        ends = bool(step.terminated), bool(step.truncated) or self._steps >= self._limit
        return np.array(step.observation), float(step.reward), *ends, {}

    def render(self) -> Any:
        """Return an image [height, width, 3] of bytes, or None unless made to render."""
        if self.render_mode != "rgb_array":
            return None
        import mujoco

        try:
            model = mujoco_model(getattr(self._env, "env", self._env))
            self._renderer = self._renderer or mujoco.Renderer(model, *self._size)
            data = posed(model, mujoco.MjData(model), self._state.inner)
            self._renderer.update_scene(data, self._camera or -1)
            return self._renderer.render()
        except Exception as error:
            cure = "set MUJOCO_GL=egl or osmesa before Python starts; install libegl1 or libosmesa6"
            raise RuntimeError(f"cannot render ({error}): {cure}") from error

    def close(self) -> None:
        if self._renderer:
            self._renderer.close()


class DeviceVectorEnv(VectorEnv):
    """`num_envs` copies in one compiled step on the device, with same-step autoreset.

    Where an episode ends, the new one's observation is returned, and the true final one is in
    `infos["final_obs"]`. A non-finite step ends its episode as truncated, with zeros for its
    observation and reward.
    """

    metadata: ClassVar[Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        name: str,
        num_envs: int = 1,
        max_episode_steps: int = EPISODE_LENGTH,
        render_mode: None = None,
        **env_options: Any,
    ) -> None:
        env: Any = envs.make(name, Config(env=name, env_options=env_options))
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        limit = min(max_episode_steps, getattr(env, "time_limit", None) or max_episode_steps)
        episodes = Episodes(env, num_envs, limit, pool_size=max(128, num_envs))

        def step(state: Any, action: Any) -> tuple[Any, Any]:
            state, (step, valid, _) = episodes.step(state, action)
            started = episodes.start(state)
            return started, (started.observation, step, valid)

        self._init = jax.jit(episodes.init)
        self._refill = jax.jit(episodes.refill, donate_argnums=0)
        self._start = jax.jit(episodes.start, donate_argnums=0)
        self._step = jax.jit(step, donate_argnums=0)
        self._pool_left = self._pool_size = episodes.pool_size
        self._state: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._state = self._start(self._refill(self._init(), _key(self.np_random)))
        self._pool_left = self._pool_size - self.num_envs
        return np.array(self._state.observation), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        if self._pool_left < self.num_envs:  # initial states are fresh, however many episodes end
            self._state = self._refill(self._state, _key(self.np_random))
            self._pool_left = self._pool_size
        actions = np.asarray(actions, np.float32)
        self._state, (observation, step, valid) = self._step(self._state, actions)
        terminated = np.array(step.terminated)
        truncated = np.array(step.truncated) | ~np.array(valid)
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            self._pool_left -= int(done.sum())
            final = np.array(step.observation)
            for i in np.flatnonzero(done).tolist():
                infos = self._add_info(infos, {"final_obs": final[i]}, i)
        reward = np.array(step.reward, np.float64)
        return np.array(observation), reward, terminated, truncated, infos
