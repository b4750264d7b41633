"""A page that plays the motion of a MuJoCo model in any browser, offline.

It is `page.html` with the motion and three.js inside.
"""

# pyright: basic
import base64
import functools
import html
import json
import pathlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from importlib import metadata, resources
from typing import Any

import numpy as np

from mjx_sac.config import UsageError

TRIMESH = "5.2.0"
"""A version known to hold three.js."""

GHOST = 0.45
"""How opaque a second policy's body is."""

# In the order of MuJoCo's mjtGeom.
_SHAPES = ["plane", "height field", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh"]
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1)  # of a geom; any other is preferred to its material's
_THREE = r'/\*\*\s+\* @license[^/]*Three\.js Authors.*?"__esModule",\{value:!0\}\)\}\)+;'


@functools.cache
def three() -> str:
    """Return three.js with its licence, from trimesh's own viewer; UsageError if it has none."""
    try:
        path = resources.files("trimesh") / "resources" / "templates" / "viewer.zip"
        with path.open("rb") as stream, zipfile.ZipFile(stream) as file:
            template = file.read("viewer.html.template").decode()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        template = ""
    found = re.search(_THREE, template, re.DOTALL)
    if not found:
        problem = f"{metadata.version('trimesh')}: holds no three.js that an .html could use"
        way_out = f"install trimesh=={TRIMESH}, or record an .mp4 or .gif"
        raise UsageError(f"trimesh = {problem}: {way_out}")
    return found[0]


def page(
    model: Any,
    poses: np.ndarray,
    dt: float,
    title: str,
    returns: Sequence[float] = (),
    ghost: tuple[str, np.ndarray, Sequence[float]] | None = None,
) -> str:
    """Return the page as text, with `title` in a corner. Planes are shown without end.

    `poses` are position and quaternion of the bodies of a MuJoCo model, the world first:
    `[time, body, 7]`, `dt` seconds apart; `returns` is the return so far at each. `ghost` is what
    shows translucent: its name, poses and returns at the same times.
    """
    # What MuJoCo's own renderer shows: the groups 0 to 2.
    shown = [i for i in range(model.ngeom) if model.geom_group[i] <= 2 and _rgba(model, i)[3] > 0]
    shown = [i for i in shown if model.geom_type[i] < len(_SHAPES)]
    root = int(model.jnt_bodyid[0]) if model.njnt else 0
    bodies = sorted({0, root, *model.geom_bodyid[shown].tolist()})
    scene = {
        "dt": dt,
        "root": bodies.index(root),
        "geoms": [_geom(model, i, bodies) for i in shown],
        "surfaces": {_surface(model, i): _triangles(model, i) for i in shown if _surface(model, i)},
        "frames": _rounded(poses[:, bodies]),
        "returns": _rounded(np.asarray(returns)),
        "ghost": None,
    }
    if ghost:
        name, moves, sums = ghost
        motion = {"frames": _rounded(moves[:, bodies]), "returns": _rounded(np.asarray(sums))}
        scene["ghost"] = {"name": name, "opacity": GHOST, **motion}
    data = zlib.compress(json.dumps(scene, separators=(",", ":")).encode(), 9)
    encoded = base64.b64encode(data).decode()
    parts = {"title": html.escape(title), "three": three(), "data": encoded}
    text = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return re.sub("%(title|three|data)%", lambda match: parts[match[1]], text)


def _rgba(model: Any, i: int) -> np.ndarray:
    material = model.geom_matid[i]
    by_material = material >= 0 and np.allclose(model.geom_rgba[i], _DEFAULT_RGBA)
    return model.mat_rgba[material] if by_material else model.geom_rgba[i]


def _geom(model: Any, i: int, bodies: list[int]) -> dict[str, Any]:
    return {
        "body": bodies.index(model.geom_bodyid[i]),
        "shape": _SHAPES[model.geom_type[i]],
        "surface": _surface(model, i),
        "rgba": _rounded(_rgba(model, i)),
        **{name: _rounded(getattr(model, f"geom_{name}")[i]) for name in ("size", "pos", "quat")},
    }


def _surface(model: Any, i: int) -> str:
    """Return a name for the triangles of a geom, which others may share; empty if it has none."""
    shape = _SHAPES[model.geom_type[i]]
    return f"{shape} {model.geom_dataid[i]}" if shape in ("mesh", "height field") else ""


def _triangles(model: Any, i: int) -> dict[str, Any]:
    k = model.geom_dataid[i]
    if _SHAPES[model.geom_type[i]] == "height field":
        vertices, faces = _hills(model.hfield(k))
    else:
        start, first = model.mesh_vertadr[k], model.mesh_faceadr[k]
        vertices = model.mesh_vert[start : start + model.mesh_vertnum[k]]
        faces = model.mesh_face[first : first + model.mesh_facenum[k]]
    return {"vertices": _rounded(vertices), "faces": faces.tolist()}


def _hills(field: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles; rows go along x, the first where y is least."""
    rows, columns, (x, y, height, _) = int(field.nrow[0]), int(field.ncol[0]), field.size
    grid = np.meshgrid(np.linspace(-x, x, columns), np.linspace(-y, y, rows))
    vertices = np.stack([*map(np.ravel, grid), height * np.ravel(field.data)], axis=-1)
    corner = np.arange(rows * columns).reshape(rows, columns)[:-1, :-1].reshape(-1, 1)
    lower, upper = [0, 1, columns + 1], [0, columns + 1, columns]  # two triangles from each corner
    return vertices, np.concatenate([corner + lower, corner + upper])


def _rounded(x: np.ndarray) -> list[Any]:
    """Tenths of a millimetre are not seen, and digits are most of a page."""
    return np.asarray(x, float).round(4).tolist()
