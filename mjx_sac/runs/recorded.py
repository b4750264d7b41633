"""Recorded transitions, from wherever they were read. No JAX."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mjx_sac.config import UsageError

RINGS = ("observation", "action", "reward", "terminated", "row")
"""Names of arrays with a length first, here and in `replay.ReplayState`."""


class Episode(NamedTuple):
    """Transitions one after another, or the part of an episode that there is.

    Attributes:
      observation: [n + 1, size], flat: the last one is the true final one, before any reset.
      action: [n, size], in [-1, 1].
      reward: [n], unscaled.
      terminated: whether the last transition ended the episode for good; otherwise its value is
        that of the final observation.
      whole: whether it is known from its beginning to its end.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    whole: bool = True


class Recorded(NamedTuple):
    """Episodes one after another, laid out as one environment's rings of the replay buffer.

    Attributes:
      observation: [rows, size], each episode's final one too.
      action: [n, size], in [-1, 1].
      reward: [n], unscaled.
      terminated: [n].
      row: [n], where in `observation` a transition starts. It jumps by two between episodes.
      whole: [episodes], as in `Episode`.
      spaces: as `envs.spaces.spaces`: "action", and "views" where they are known.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    row: np.ndarray
    whole: np.ndarray
    spaces: Mapping[str, Any]

    @classmethod
    def of(cls, episodes: Sequence[Episode], spaces: Mapping[str, Any]) -> "Recorded":
        """Return at least one episode, each with at least one transition, as one."""
        lengths = np.array([len(episode.reward) for episode in episodes])
        ends = np.cumsum(lengths)
        terminated = np.zeros(ends[-1], bool)
        terminated[ends - 1] = [episode.terminated for episode in episodes]
        numbers = zip(*(episode[:3] for episode in episodes), strict=True)
        observation, action, reward = (np.concatenate(x).astype(np.float32) for x in numbers)
        # A row more for every episode before.
        row = np.arange(ends[-1]) + np.repeat(np.arange(len(lengths)), lengths)
        whole = np.array([episode.whole for episode in episodes])
        row = row.astype(np.int32)
        return cls(observation, action, reward, terminated, row, whole, spaces)

    @property
    def last(self) -> np.ndarray:
        """Whether each transition is the last of its episode."""
        return np.append(np.diff(self.row) != 1, True)

    def episodes(self) -> Iterator[Episode]:
        """Yield what `of` was given."""
        first = 0
        for end, whole in zip(np.flatnonzero(self.last) + 1, self.whole, strict=True):
            rows = slice(self.row[first], self.row[end - 1] + 2)
            part, terminated = slice(first, end), bool(self.terminated[end - 1])
            numbers = self.observation[rows], self.action[part], self.reward[part]
            yield Episode(*numbers, terminated, bool(whole))
            first = end

    def mean_return(self) -> float:
        """Return the mean over whole episodes of the sum of rewards; NaN without any."""
        returns = [episode.reward.sum(dtype=float) for episode in self.episodes() if episode.whole]
        return float(np.mean(returns)) if returns else float("nan")

    def sha256(self) -> str:
        """Return a hash of all transitions, wherever they lie."""
        digest = hashlib.sha256()
        for name in RINGS:
            array = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def check(self, name: str, observation_size: int, spaces: Mapping[str, Any]) -> None:
        """Raise UsageError where the data set `name` is not of an environment's sizes and spaces.

        Also where a number in it is not finite.
        """
        action, own = spaces["action"], self.spaces["action"]
        pairs = {
            "numbers in an observation": (self.observation.shape[1], observation_size),
            "numbers in an action": (self.action.shape[1], len(action["low"])),
            "lower bounds of actions": (own["low"], action["low"]),
            "upper bounds of actions": (own["high"], action["high"]),
            "parts of observations": (self.spaces.get("views"), spaces.get("views")),
        }
        for what, (there, here) in pairs.items():
            if not _same(there, here):
                problem = f"{what}: {_short(there)}, the environment's {_short(here)}"
                raise UsageError(f"dataset = {name!r}: {problem}: name one of this environment")
        for field in ("observation", "action", "reward"):
            if not np.isfinite(getattr(self, field)).all():
                problem = f"a number under {field} is not finite"
                raise UsageError(f"dataset = {name!r}: {problem}: leave that episode out")


def _same(there: Any, here: Any) -> bool:
    if isinstance(there, list) and isinstance(here, list):
        return len(there) == len(here) and np.allclose(there, here)
    return there == here


def _short(value: Any) -> str:
    if isinstance(value, list) and len(set(value)) == 1:
        return f"{value[0]:g}"
    text = "none" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
