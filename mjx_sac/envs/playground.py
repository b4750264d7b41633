"""MuJoCo Playground's environments, named `playground/<Name>`; needs the extra `playground`."""

# pyright: basic
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flax.traverse_util import flatten_dict

from mjx_sac.config import UsageError, nearest
from mjx_sac.envs import options, warp
from mjx_sac.envs.brax import BraxEnvironment

MENAGERIE = "MUJOCO_MENAGERIE"
"""The environment variable with a directory of MuJoCo Menagerie, which has the robots' files."""

_ROBOTS = {
    "Aero": "tetheria_aero_hand_open",
    "Aloha": "aloha",
    "Apollo": "apptronik_apollo",
    "Barkour": "google_barkour_vb",
    "Berkeley": "berkeley_humanoid",
    "G1": "unitree_g1",
    "Go1": "unitree_go1",
    "H1": "unitree_h1",
    "Leap": "leap_hand",
    "Op3": "robotis_op3",
    "PandaRobotiq": "robotiq_2f85_v4",
    "Panda": "franka_emika_panda",
    "Spot": "boston_dynamics_spot",
    "T1": "booster_t1",
}
"""Directories of MuJoCo Menagerie by the beginnings of names, so that a listing builds nothing."""


def make(
    name: str,
    impl: str,
    given: Mapping[str, Any] = MappingProxyType({}),
    randomization: str | None = None,
    copies: int = 128,
) -> BraxEnvironment:
    """Return Playground's `name` on MJX's implementation `impl`, configured but for what is given.

    `randomization` is what `domain_randomization` says, and `copies` how many will be stepped at
    once. The environment has its whole configuration as `env_config`, by names with dots, ready for
    JSON.
    """
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]

    if name not in registry.ALL_ENVS:
        hint = nearest(name, list(registry.ALL_ENVS))
        raise UsageError(f"env = 'playground/{name}': Playground has no such environment{hint}")
    defaults = flatten_dict(registry.get_default_config(name).to_dict(), sep=".")
    chooses, full_name = "impl" in defaults, f"playground/{name}"
    if "impl" in given:
        raise UsageError(f"env_option = 'impl': {full_name} takes it from --impl: leave it out")
    if impl == "warp" and not chooses:
        raise UsageError(f"impl = 'warp': playground/{name} has no choice of it: leave --impl out")
    adapter: Any = BraxEnvironment
    if impl == "warp":
        adapter, given = warp.prepare(given, defaults, copies)
    overrides = options.fit(full_name, given, defaults) | ({"impl": impl} if chooses else {})
    with options.taken(full_name, given):
        with _robots(name), _older_names():
            env = registry.load(name, config_overrides=overrides)
        with contextlib.redirect_stdout(io.StringIO()):  # Playground prints where it has none
            own = registry.get_domain_randomizer(name) if randomization else None
        made = adapter(env, (randomization, own) if randomization else None)
    made.env_config = json.loads(json.dumps(flatten_dict(env._config.to_dict(), sep=".")))
    return made


@contextlib.contextmanager
def _older_names() -> Iterator[None]:
    """Let Playground call `MjSpec.find_body`: it compares versions as texts, and "3.17" < "3.3"."""
    import mujoco

    kind: Any = mujoco.MjSpec  # pyright: ignore[reportAttributeAccessIssue]
    if hasattr(kind, "find_body"):
        yield
        return
    kind.find_body = kind.body
    try:
        yield
    finally:
        del kind.find_body


def robots(name: str) -> pathlib.Path | None:
    """Return the directory in which `name` looks for its robot; None if it needs none."""
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]
    from mujoco_playground._src import mjx_env  # pyright: ignore[reportMissingImports]

    if name in registry.dm_control_suite.ALL_ENVS:
        return None
    return pathlib.Path(os.environ.get(MENAGERIE) or mjx_env.MENAGERIE_PATH).expanduser()


def missing_robot(name: str) -> str:
    """Return what is not there of the robot that `name` needs; empty if nothing is missing."""
    directory = robots(name)
    if directory is None:
        return ""
    if not directory.exists():
        return "MuJoCo Menagerie, at its first use"
    own = next((own for start, own in _ROBOTS.items() if name.startswith(start)), "")
    return "" if (directory / own).exists() else f"{own} of MuJoCo Menagerie"


@contextlib.contextmanager
def _robots(name: str) -> Iterator[None]:
    """Have Playground look in `robots`; where it then finds no robot, say in a line what to do.

    Where its own directory is missing, Playground clones a repository into it, with some prints.

    Raises:
      UsageError: a file of the robot is missing.
    """
    from mujoco_playground._src import mjx_env  # pyright: ignore[reportMissingImports]

    directory, usual = robots(name), mjx_env.MENAGERIE_PATH
    if directory is None:
        yield
        return
    try:
        if os.environ.get(MENAGERIE) and not directory.is_dir():
            raise FileNotFoundError("no such directory")
        mjx_env.MENAGERIE_PATH = type(usual)(directory)
        with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        if isinstance(error, ValueError) and "opening file" not in str(error):
            raise
        why = str(error).partition("\n")[0]
        problem = f"no files of its robot in {directory} ({why})"
        clone = "a clone of https://github.com/google-deepmind/mujoco_menagerie"
        way_out = f"put {clone} there, or name one in the environment variable {MENAGERIE}"
        raise UsageError(f"env = 'playground/{name}': {problem}: {way_out}") from error
    finally:
        mjx_env.MENAGERIE_PATH = usual
