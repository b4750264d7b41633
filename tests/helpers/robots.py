"""Meshes of G1 and Go1, which Playground would clone, out of a package that has them.

    python tests/helpers/robots.py [DIRECTORY]

lays them out, by default where the installed Playground looks for them.
"""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

WHEEL = "mjlab==1.6.0"
ROBOTS = ("unitree_g1", "unitree_go1")


@functools.cache
def directory() -> pathlib.Path:
    """Return a directory as MuJoCo Menagerie's with both: one that is there, or the session's own.

    Raises:
      OSError: they could not be downloaded.
    """
    given, cache = os.environ.get("MUJOCO_MENAGERIE"), os.environ["XDG_CACHE_HOME"]
    places = [*([pathlib.Path(given)] if given else []), installation()]
    own = pathlib.Path(cache) / "mujoco_menagerie"
    found = next((place for place in (*places, own) if is_complete(place)), None)
    if found is None:
        lay_out(own)
    return found or own


def is_complete(place: pathlib.Path) -> bool:
    """Return whether both robots are there."""
    return all((place / robot / "assets").is_dir() for robot in ROBOTS)


def installation() -> pathlib.Path:
    """Return where the installed Playground looks for MuJoCo Menagerie."""
    spec = importlib.util.find_spec("mujoco_playground")
    if spec is None or spec.origin is None:
        raise OSError("mujoco_playground is not installed")
    return pathlib.Path(spec.origin).parent / "external_deps" / "mujoco_menagerie"


def lay_out(target: pathlib.Path) -> None:
    """Download the package and copy the meshes; several processes may do so at once."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as folder:
        _download(folder)
        for robot in ROBOTS:
            made = pathlib.Path(folder, robot)
            made.mkdir()
            assets = pathlib.Path(folder, "mjlab/asset_zoo/robots", robot, "xmls/assets")
            assets.rename(made / "assets")
            try:
                made.rename(target / robot)
            except OSError:  # another process was faster
                if not (target / robot / "assets").is_dir():
                    raise


def _download(folder: str) -> None:
    """Unpack the package into `folder`: with pip, which an environment of uv's has not, or uv."""
    uv = os.environ.get("UV", "uv")  # `uv run` says where it is
    base = str(pathlib.Path(sys.base_prefix, "bin", "python3"))
    options = ("install", "--quiet", "--no-deps", "--target", folder, WHEEL)
    reasons = []
    for tool in ([sys.executable, "-m", "pip"], [uv, "pip"], [base, "-m", "pip"]):
        try:
            done = subprocess.run([*tool, *options], capture_output=True, text=True, check=False)
        except OSError as error:
            reasons.append(f"{tool[0]}: {error.strerror}")
            continue
        if done.returncode == 0:
            return
        reasons.append(f"{' '.join(tool)}: {done.stderr.strip().splitlines()[-1:]}")
    raise OSError(f"{WHEEL} cannot be downloaded: {'; '.join(reasons)}")


if __name__ == "__main__":
    lay_out(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else installation())
