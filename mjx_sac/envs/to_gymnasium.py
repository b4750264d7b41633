"""Our environments as Gymnasium's: `gymnasium.make("mjx_sac/ant")`, or many at once on the device by `gymnasium.make_vec`."""

# pyright: basic
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mjx_sac.config import EPISODE_LENGTH


def _spaces(env: Any) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Observations and actions of one environment."""
    observation = gymnasium.spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float32)
    return observation, gymnasium.spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)


class DeviceEnv(gymnasium.Env):
    """One environment. The time limit is Gymnasium's: `gymnasium.make` adds it."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        name: str,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera: str | None = None,
    ) -> None:
        """`width`, `height` and `camera` are of what `render` shows."""
        import jax

        from mjx_sac import envs

        env: Any = envs.make(name)
        self.render_mode, self._size, self._camera = render_mode, (width, height), camera
        self.observation_space, self.action_space = _spaces(env)
        self._env, self._reset, self._step = env, jax.jit(env.reset), jax.jit(env.step)
        if hasattr(env, "env"):
            self.metadata = {**self.metadata, "render_fps": round(1 / float(env.env.dt))}  # pyright: ignore[reportAttributeAccessIssue]
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = self._reset(
            self.np_random.integers(2**32, size=2, dtype=np.uint32)
        )  # a raw JAX key
        return np.array(self._state.observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._state, step = self._step(self._state, np.asarray(action, np.float32))
        return (
            np.array(step.observation),
            float(step.reward),
            bool(step.terminated),
            bool(step.truncated),
            {},
        )

    def render(self) -> Any:
        """An image as `[height, width, 3]` bytes.

        Raises:
          RuntimeError: no OpenGL; one line with what to set.
        """
        if self.render_mode != "rgb_array":
            return None
        from brax.io import image

        try:
            width, height = self._size
            return image.render_array(
                self._env.env.sys, self._state.inner.pipeline_state, height, width, self._camera
            )
        except Exception as error:
            raise RuntimeError(
                f"cannot render ({error}): set MUJOCO_GL to egl or osmesa before Python starts, and install libegl1 or libosmesa6"
            ) from error


class DeviceVectorEnv(VectorEnv):
    """`num_envs` copies in one compiled step on the device. Where an episode ends the new one's observation is returned, and the
    true final one is in `infos["final_obs"]`, as Gymnasium has it for same-step autoreset.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        name: str,
        num_envs: int = 1,
        max_episode_steps: int = EPISODE_LENGTH,
        render_mode: None = None,
    ) -> None:
        import jax

        from mjx_sac import envs
        from mjx_sac.envs.episodes import Episodes

        env: Any = envs.make(name)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        episodes = Episodes(env, num_envs, max_episode_steps, pool_size=max(128, num_envs))

        def step(state: Any, action: Any) -> tuple[Any, Any]:
            state, (step, valid, _) = episodes.step(state, action)
            started = episodes.start(state)
            return started, (started.env.observation, step, valid)

        self._init, self._start = jax.jit(episodes.init), jax.jit(episodes.start, donate_argnums=0)
        self._refill, self._step = (
            jax.jit(episodes.refill, donate_argnums=0),
            jax.jit(step, donate_argnums=0),
        )
        self._pool_left = self._pool_size = episodes.pool_size
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = self._start(self._refill(self._init(), self._key()))
        self._pool_left = self._pool_size - self.num_envs
        return np.array(self._state.env.observation), {}

    def _key(self) -> np.ndarray:
        return self.np_random.integers(2**32, size=2, dtype=np.uint32)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """A step that is not finite ends its episode as truncated, with zeros for its observation and reward."""
        if (
            self._pool_left < self.num_envs
        ):  # initial states are fresh draws, however many episodes end
            self._state, self._pool_left = self._refill(self._state, self._key()), self._pool_size
        self._state, (observation, step, valid) = self._step(
            self._state, np.asarray(actions, np.float32)
        )
        terminated, truncated = (
            np.array(step.terminated),
            np.array(step.truncated) | ~np.array(valid),
        )
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            self._pool_left -= int(done.sum())
            final = np.array(step.observation)
            infos = {"final_obs": np.full(self.num_envs, None, object), "_final_obs": done}
            for i in np.flatnonzero(done):
                infos["final_obs"][i] = final[i]
        return (
            np.array(observation),
            np.array(step.reward, np.float64),
            terminated,
            truncated,
            infos,
        )
