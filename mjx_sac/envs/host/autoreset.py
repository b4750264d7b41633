"""A VectorEnv of any autoreset mode behind one `step`, with a small class for each mode.

The true final observation comes first, then the first one of the new episode. Where Gymnasium
resets by itself (next step, same step), an environment with a NaN cannot be made to begin a new
episode: its steps are left out until it does so.
"""

# pyright: basic
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from mjx_sac.envs import reports
from mjx_sac.envs.host import checked
from mjx_sac.envs.host.protocol import BrokenEnvironmentError, HostStep
from mjx_sac.envs.host.workers import WorkerVectorEnv
from mjx_sac.envs.views import Ranges

_WHO = "the VectorEnv"


class VectorSimulator:
    """What all modes share. See `Simulator`; `make` chooses the class."""

    def __init__(
        self,
        vector: VectorEnv,
        episode_length: int,
        action_repeat: int,
        once: bool = False,
        kept: Ranges | None = None,
        metrics: int = 0,
        reported: tuple[str, ...] = (),
    ) -> None:
        """Prepare to step `vector`, which repeats actions itself.

        `episode_length` counts where its mode is `DISABLED`; otherwise its time limit is its own.
        `once` asks `CheckedEnv`s for one episode after a reset. `kept` is what is kept of
        observations, `metrics` how many numbers `CheckedEnv`s report, `reported` the names of those
        that others do.
        """
        self._vector, self._limit, self._repeat = vector, episode_length, action_repeat
        self._once, self._kept, self._metrics, self._reported = once, kept, metrics, reported
        self._n, self.infos = vector.num_envs, {}
        self._current = np.zeros((self._n, 0), np.float32)
        self._length = np.zeros(self._n, np.int64)
        self._skips = np.zeros(self._n, bool)  # does something else, or nothing, in the next step

    @checked.quiet()
    def reset(self, seed: int) -> np.ndarray:
        self._skips, self._length[:] = np.zeros(self._n, bool), 0
        checked.seed_spaces(self._vector, seed)
        return self._reset(seed=seed)

    def _reset(self, **arguments: Any) -> np.ndarray:
        self._current = self._flat(checked.first_of_two(self._vector.reset(**arguments), _WHO))
        return self._current

    @checked.quiet()
    def step(self, action: np.ndarray) -> HostStep:
        acted_on, stepped = np.isfinite(self._current).all(-1), ~self._skips
        observation, *numbers, infos = checked.five(self._vector.step(self._scaled(action)), _WHO)
        typed = zip(numbers, (np.float32, bool, bool), strict=True)
        reward, terminated, truncated = (self._row(values, kind) for values, kind in typed)
        done = terminated | truncated
        self.infos = infos = infos if isinstance(infos, dict) else {}
        self._current = self._flat(observation)
        final = self._final(infos, done)
        finite = acted_on & np.isfinite(final).all(-1) & np.isfinite(reward) | ~stepped
        held = np.full(self._n, self._repeat)
        if self._repeat > 1 and "_held" in infos:  # by some for less
            held = np.where(infos["_held"], infos["held"], held)
        steps = np.where(stepped, held, 0)
        over = self._begin(steps, done, finite)
        good = finite & stepped
        return HostStep(
            observation=np.where(good[:, None], final, 0.0).astype(np.float32),
            reward=np.where(good, reward, 0.0).astype(np.float32),
            terminated=terminated & good,
            truncated=over & ~terminated & good,
            finite=finite,
            steps=steps.astype(np.int32),
            current=self._current,
            metrics=self._said(infos, done),
        )

    def _said(self, infos: dict[str, Any], done: np.ndarray) -> np.ndarray | None:
        """Return what environments reported, [num_envs, names]; None where they report nothing."""
        if self._reported:  # a mode that resets in the same step keeps the last of an episode apart
            last = final if isinstance(final := infos.get("final_info"), dict) else infos
            now, ended = (
                np.stack([reports.column(x, name, self._n) for name in self._reported], axis=-1)
                for x in (infos, last)
            )
            return np.where(done[:, None], ended, now)
        blank = np.zeros((self._n, self._metrics), np.float32)
        return infos.get("metrics", blank) if self._metrics else None

    def _row(self, values: Any, kind: Any) -> np.ndarray:
        try:
            return checked.real(values).astype(kind).reshape(self._n)
        except (TypeError, ValueError) as error:
            text = f"{_WHO} returned rewards or flags that are not one for each environment"
            raise BrokenEnvironmentError(f"{text}: {error}") from None

    def _final(self, infos: dict[str, Any], done: np.ndarray) -> np.ndarray:
        """Return the observations before any reset."""
        return self._current

    def _begin(self, steps: np.ndarray, done: np.ndarray, finite: np.ndarray) -> np.ndarray:
        """Begin new episodes, if that is left to us; return where an episode is over."""
        return done

    def _scaled(self, action: np.ndarray) -> np.ndarray:
        """Scale actions from [-1, 1] to the bounds of the space; NaN becomes the middle."""
        space: Any = self._vector.single_action_space  # a Box
        # int8 would overflow
        low, high = (bound.reshape(-1).astype(np.float64) for bound in (space.low, space.high))
        scaled = (low + (np.nan_to_num(action) + 1) / 2 * (high - low)).clip(low, high)
        if space.dtype.kind in "iub":
            scaled = np.rint(scaled)
        return scaled.astype(space.dtype).reshape(-1, *space.shape)

    def _flat(self, observation: Any, n: int | None = None) -> np.ndarray:
        space = self._vector.single_observation_space
        return checked.keep(checked.flatten(space, observation, n or self._n, _WHO), self._kept)

    @property
    def awaited(self) -> int | None:
        if isinstance(self._vector, WorkerVectorEnv):
            return self._vector.awaited
        envs = getattr(self._vector, "envs", ())
        return next((i for i, env in enumerate(envs) if getattr(env, "busy", False)), None)

    @checked.quiet()
    def close(self) -> None:
        checked.close(self._vector, _WHO)

    def kill(self) -> None:
        if isinstance(self._vector, WorkerVectorEnv):
            self._vector.kill()


class _Disabled(VectorSimulator):
    """Resets are ours: at an episode's end, at the time limit, and after a non-finite value.

    With `once` a `CheckedEnv` whose episode is over does nothing more instead.
    """

    def _begin(self, steps: np.ndarray, done: np.ndarray, finite: np.ndarray) -> np.ndarray:
        self._length += steps
        over = done | (self._length >= self._limit)
        where = over | ~finite
        if where.any():
            options: dict[str, Any] = {"reset_mask": where.copy()}
            if self._once:
                self._skips, options["idle"] = self._skips | where, True
            self._reset(options=options)
            self._length[where] = 0
        return over


class _NextStep(VectorSimulator):
    """The step after an episode's end resets and does nothing else."""

    def _begin(self, steps: np.ndarray, done: np.ndarray, finite: np.ndarray) -> np.ndarray:
        self._skips = done
        return done


class _SameStep(VectorSimulator):
    """The step that ends an episode resets too, and puts the final observation into `infos`."""

    def _final(self, infos: dict[str, Any], done: np.ndarray) -> np.ndarray:
        if done.any() and "final_obs" not in infos:
            text = "the VectorEnv began new episodes in a step without final_obs in its infos"
            raise BrokenEnvironmentError(text)
        final = self._current.copy()
        for i in np.flatnonzero(done):
            final[i] = self._flat(_part(infos["final_obs"], int(i)), 1)[0]
        return final


def _part(batch: Any, i: int) -> Any:
    """Return environment `i`'s part of a batch: an array, or a dictionary or tuple of arrays."""
    if isinstance(batch, dict):
        return {key: _part(value, i) for key, value in batch.items() if not key.startswith("_")}
    return tuple(_part(value, i) for value in batch) if isinstance(batch, tuple) else batch[i]


def make(vector: VectorEnv, *how: Any, **more: Any) -> VectorSimulator:
    """Return the simulator for the autoreset mode of `vector`, see `VectorSimulator`."""
    kinds = {AutoresetMode.DISABLED: _Disabled, AutoresetMode.SAME_STEP: _SameStep}
    mode = AutoresetMode(vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
    return kinds.get(mode, _NextStep)(vector, *how, **more)
