"""A page that plays the motion of a MuJoCo model in any browser, offline: `page.html` with the data and three.js inside."""

# pyright: basic
import base64
import functools
import html
import json
import pathlib
import re
import zipfile
import zlib
from importlib import metadata, resources
from typing import Any

import numpy as np

from mjx_sac.config import UsageError

TRIMESH = "5.2.0"  # one that is known to hold three.js

_SHAPES = (
    "plane",
    "height field",
    "sphere",
    "capsule",
    "ellipsoid",
    "cylinder",
    "box",
    "mesh",
)  # in mjtGeom's order
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1)  # of a geom; any other goes before its material's


@functools.cache
def three() -> str:
    """The library three.js with its licence, which `trimesh` ships in the template of a page of its own.

    Raises:
      UsageError: this version of trimesh does not.
    """
    try:
        path = resources.files("trimesh") / "resources" / "templates" / "viewer.zip"
        with path.open("rb") as stream, zipfile.ZipFile(stream) as file:
            template = file.read("viewer.html.template").decode()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        template = ""
    found = re.search(
        r'/\*\*\s+\* @license[^/]*Three\.js Authors.*?"__esModule",\{value:!0\}\)\}\)+;',
        template,
        re.S,
    )
    if not found:
        way_out = f"install trimesh=={TRIMESH}, or record an .mp4 or .gif"
        raise UsageError(
            f"trimesh = {metadata.version('trimesh')}: holds no three.js that an .html could use: {way_out}"
        )
    return found[0]


def page(model: Any, positions: np.ndarray, rotations: np.ndarray, dt: float, title: str) -> str:
    """The page as text.

    Args:
      model: a MuJoCo model. Planes are shown without end.
      positions: of its bodies, the world first: [time, body, 3].
      rotations: as quaternions, [time, body, 4].
      dt: seconds between them.
      title: shown in a corner.
    """
    shown = _shown(model)
    root = int(model.jnt_bodyid[0]) if model.njnt else 0
    bodies = np.unique([0, root, *model.geom_bodyid[shown]])
    geoms = [_geom(model, i, int(np.searchsorted(bodies, model.geom_bodyid[i]))) for i in shown]
    scene = {
        "dt": dt,
        "root": int(np.searchsorted(bodies, root)),
        "geoms": geoms,
        "surfaces": {
            geom["surface"]: _surface(model, i)
            for i, geom in zip(shown, geoms, strict=True)
            if geom["surface"]
        },
        "frames": _rounded(np.concatenate([positions, rotations], axis=-1)[:, bodies]),
    }
    data = base64.b64encode(
        zlib.compress(json.dumps(scene, separators=(",", ":")).encode(), 9)
    ).decode()
    parts = {"title": html.escape(title), "three": three(), "data": data}
    text = (pathlib.Path(__file__).parent / "page.html").read_text()
    return re.sub("%(title|three|data)%", lambda match: parts[match[1]], text)


def _shown(model: Any) -> list[int]:
    """The geoms that are seen: as in MuJoCo's own renderer, of the groups 0 to 2."""
    seen = (i for i in range(model.ngeom) if model.geom_group[i] <= 2 and _rgba(model, i)[3] > 0)
    return [i for i in seen if model.geom_type[i] < len(_SHAPES)]


def _rgba(model: Any, i: int) -> np.ndarray:
    material = model.geom_matid[i]
    by_material = material >= 0 and np.allclose(model.geom_rgba[i], _DEFAULT_RGBA)
    return model.mat_rgba[material] if by_material else model.geom_rgba[i]


def _geom(model: Any, i: int, body: int) -> dict[str, Any]:
    numbers = {
        "rgba": _rgba(model, i),
        **{name: getattr(model, f"geom_{name}")[i] for name in ("size", "pos", "quat")},
    }
    shape = _SHAPES[model.geom_type[i]]
    surface = f"{shape} {model.geom_dataid[i]}" if shape in ("mesh", "height field") else ""
    return {
        "body": body,
        "shape": shape,
        "surface": surface,
        **{name: _rounded(x) for name, x in numbers.items()},
    }


def _surface(model: Any, i: int) -> dict[str, Any]:
    """Of a geom that has one, vertices and triangles."""
    k = model.geom_dataid[i]
    if _SHAPES[model.geom_type[i]] == "height field":
        vertices, faces = _hills(model.hfield(k))
    else:
        start, first = model.mesh_vertadr[k], model.mesh_faceadr[k]
        vertices = model.mesh_vert[start : start + model.mesh_vertnum[k]]
        faces = model.mesh_face[first : first + model.mesh_facenum[k]]
    return {"vertices": _rounded(vertices), "faces": faces.tolist()}


def _hills(field: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a height field go along x, the first where y is least."""
    rows, columns, (x, y, height, _) = int(field.nrow[0]), int(field.ncol[0]), field.size
    grid = np.meshgrid(np.linspace(-x, x, columns), np.linspace(-y, y, rows))
    vertices = np.stack([*map(np.ravel, grid), height * np.ravel(field.data)], axis=-1)
    corners = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (
        part.ravel()
        for part in (corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1])
    )
    return vertices, np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])


def _rounded(x: np.ndarray) -> list[Any]:
    """Tenths of a millimetre are not seen, and digits are most of a page."""
    return np.asarray(x, float).round(4).tolist()
