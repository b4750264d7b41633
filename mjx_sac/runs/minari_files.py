"""Minari's data sets, as they lie on this machine: read and written, without a network. No JAX."""

# pyright: basic
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mjx_sac.config import UsageError, nearest, require
from mjx_sac.runs.recorded import Episode, Recorded

EXTRA = "offline"
"""The extra of this package that installs Minari, and what its files are read with."""

_MODULES = ("minari", "h5py", "pyarrow", "PIL")


def root() -> Path:
    """Return where Minari keeps its data sets."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def names() -> list[str]:
    """Return the names of those that are there."""
    found = root().rglob("data/metadata.json")
    return sorted(path.parents[1].relative_to(root()).as_posix() for path in found)


def check(name: str) -> None:
    """Raise UsageError where the extra is missing or there is no such data set."""
    require(_MODULES, EXTRA, f"dataset = {name!r}")
    if name in (there := names()):
        return
    problem = f"no Minari data set in {root()}"
    way_out = f"; there are {', '.join(there[:8])}" if there else ": name a run as run:DIRECTORY"
    raise UsageError(f"dataset = {name!r}: {problem}{nearest(name, there) or way_out}")


def read(name: str) -> Recorded:
    """Return all episodes of a data set; observations in parts are made flat.

    Raises:
      UsageError: it is not there, damaged or empty, or has no ends of episodes.
    """
    check(name)
    import minari
    from gymnasium.spaces import Box

    from mjx_sac.envs.host.gymnasium import SUPPORTED
    from mjx_sac.envs.host.protocol import BrokenEnvironmentError

    label = f"dataset = {name!r}"
    try:
        # Minari warns of everything that a data set does not say.
        with warnings.catch_warnings(action="ignore"):
            data = minari.load_dataset(name)
            bounds: Any = data.action_space
            if not (isinstance(bounds, Box) and bounds.is_bounded()):
                raise UsageError(f"{label}: actions are {bounds}: {SUPPORTED}")
            low, high = (np.asarray(x, float).ravel() for x in (bounds.low, bounds.high))
            space = data.observation_space
            episodes = [_episode(label, space, low, high, one) for one in data.iterate_episodes()]
    except (UsageError, BrokenEnvironmentError) as error:
        text = str(error) if isinstance(error, UsageError) else f"{label}: {error}"
        raise UsageError(text) from None
    except Exception as error:  # of whatever reads its files
        text = next(iter(str(error).splitlines()), "")
        problem = f"cannot be read ({type(error).__name__}: {text})"
        raise UsageError(f"{label}: {problem}: write or download it again") from error
    if not episodes:
        raise UsageError(f"{label}: there is no transition in it: name another")
    return Recorded.of(episodes, {"action": {"low": low.tolist(), "high": high.tolist()}})


def _episode(label: str, space: Any, low: np.ndarray, high: np.ndarray, found: Any) -> Episode:
    """Return an episode, whose last transition alone must end it; actions are clipped."""
    from mjx_sac.envs.host.checked import flatten

    who, n = f"episode {found.id}", len(found.rewards)
    terminated, truncated = (np.asarray(x, bool) for x in (found.terminations, found.truncations))
    ended = terminated | truncated
    if not n or not ended[-1]:
        raise UsageError(f"{label}: {who} has no end: its last step must terminate or truncate it")
    if ended[:-1].any():
        step = int(np.argmax(ended)) + 1
        raise UsageError(f"{label}: {who} continues after its end at step {step}: cut it there")
    action = np.asarray(found.actions, float).reshape(n, -1)
    middle, half = (low + high) / 2, (high - low) / 2
    return Episode(
        observation=flatten(space, found.observations, n + 1, who),
        action=np.clip((action - middle) / half, -1, 1),
        reward=np.asarray(found.rewards),
        terminated=bool(terminated[-1]),
    )


def check_name(name: str) -> None:
    """Raise UsageError where a data set cannot be written as `name`."""
    label = f"out = {name!r}"
    require(_MODULES, EXTRA, label)
    from minari.dataset.minari_dataset import DATASET_ID_RE

    match = DATASET_ID_RE.fullmatch(name)
    if not (match and match["version"]):
        raise UsageError(f"{label}: no name of Minari's: such as {_suggested(name)}")
    if (root() / name).exists():
        raise UsageError(f"{label}: {root() / name} is there: choose another name or version")


def _suggested(name: str) -> str:
    plain = re.sub(r"-v\d*$", "", Path(name).name)
    words = re.sub(r"[^\w-]", "-", plain).strip("-")
    return f"{words or 'mine'}-v0"


def write(recorded: Recorded, name: str, env: str | None, algorithm: str, text: str) -> Path:
    """Write episodes as the Minari data set `name`, in the environment's own actions; return where.

    `check_name` has let `name` pass. `env` is Gymnasium's id of the environment, if it has one,
    `algorithm` what acted; `text` says what this is. An episode that goes on after its last
    transition is truncated there.
    """
    import minari
    from gymnasium.spaces import Box

    from mjx_sac.envs.host.checked import quiet

    action = recorded.spaces["action"]
    kind = _kind(action)
    low, high = (np.asarray(action[k], kind).reshape(action["shape"]) for k in ("low", "high"))
    path = root() / name
    try:
        with warnings.catch_warnings(action="ignore"), quiet():
            minari.create_dataset_from_buffers(
                name,
                [_buffer(episode, action) for episode in recorded.episodes()],
                env=env,
                observation_space=Box(-np.inf, np.inf, recorded.observation.shape[1:]),
                action_space=Box(low, high, low.shape, kind),
                algorithm_name=algorithm,
                description=text,
            )
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        problem = f"{path} cannot be written ({error.strerror or error})"
        way_out = "make room, or set MINARI_DATASETS_PATH"
        raise UsageError(f"out = {name!r}: {problem}: {way_out}") from None
    return path


def _kind(action: Mapping[str, Any]) -> Any:
    """Return the type of a space's numbers, which are real."""
    return np.dtype(action["dtype"] if "float" in action["dtype"] else "float32")


def _buffer(episode: Episode, action: Mapping[str, Any]) -> Any:
    """Return an episode as Minari takes it, with actions in the bounds of the space `action`."""
    from minari.data_collector import EpisodeBuffer

    n, over = len(episode.reward), episode.terminated
    low, high = (np.asarray(action[k], float) for k in ("low", "high"))
    acted = np.clip((low + high) / 2 + episode.action * (high - low) / 2, low, high)
    terminations, truncations = np.zeros((2, n), bool)
    terminations[-1], truncations[-1] = over, not over
    arrays: dict[str, Any] = {
        "observations": episode.observation,
        "actions": acted.astype(_kind(action)).reshape(n, *action["shape"]),
        "rewards": episode.reward,
        "terminations": terminations,
        "truncations": truncations,
        "infos": {},
    }
    return EpisodeBuffer(**arrays)
