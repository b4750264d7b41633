"""A page that plays the motion of a MuJoCo model in any browser, offline: `page.html` with the data and three.js inside."""

# pyright: basic
import base64
import functools
import html
import io
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

_SHAPES = {0: "plane", 2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box", 7: "mesh"}  # of mjtGeom
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1)  # of a geom; any other goes before its material's


@functools.cache
def three() -> str:
    """The library three.js with its licence, which `trimesh` ships in the template of a page of its own.

    Raises:
      UsageError: this version of trimesh does not.
    """
    try:
        with zipfile.ZipFile(
            io.BytesIO(resources.files("trimesh").joinpath("resources/templates/viewer.zip").read_bytes())
        ) as file:
            template = file.read("viewer.html.template").decode()
    except (ImportError, OSError, KeyError, ValueError, zipfile.BadZipFile):
        template = ""
    found = re.search(r'/\*\*\s+\* @license[^/]*Three\.js Authors.*?"__esModule",\{value:!0\}\)\}\)+;', template, re.S)
    if not found:
        way_out = f"install trimesh=={TRIMESH}, or record an .mp4 or .gif"
        raise UsageError(f"trimesh = {_version()}: holds no three.js that an .html could use: {way_out}")
    return found[0]


def _version() -> str:
    try:
        return metadata.version("trimesh")
    except metadata.PackageNotFoundError:
        return "none"


def page(model: Any, positions: np.ndarray, rotations: np.ndarray, dt: float, title: str) -> str:
    """The page as text.

    Args:
      model: a MuJoCo model. Planes are shown without end; height fields are not shown.
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
        "meshes": {mesh: _mesh(model, mesh) for mesh in {geom["mesh"] for geom in geoms if geom["shape"] == "mesh"}},
        "frames": _rounded(np.concatenate([positions, rotations], axis=-1)[:, bodies]),
    }
    data = base64.b64encode(zlib.compress(json.dumps(scene, separators=(",", ":")).encode(), 9)).decode()
    parts = {"title": html.escape(title), "three": three(), "data": data}
    text = (pathlib.Path(__file__).parent / "page.html").read_text()
    return re.sub("%(title|three|data)%", lambda match: parts[match[1]], text)


def _shown(model: Any) -> np.ndarray:
    """Indices of the geoms that are seen: as in MuJoCo's own renderer, of the groups 0 to 2."""
    return np.array(
        [i for i in range(model.ngeom) if model.geom_group[i] <= 2 and model.geom_type[i] in _SHAPES and _rgba(model, i)[3] > 0],
        int,
    )


def _rgba(model: Any, i: int) -> np.ndarray:
    material = model.geom_matid[i]
    by_material = material >= 0 and np.allclose(model.geom_rgba[i], _DEFAULT_RGBA)
    return model.mat_rgba[material] if by_material else model.geom_rgba[i]


def _geom(model: Any, i: int, body: int) -> dict[str, Any]:
    numbers = {"rgba": _rgba(model, i), **{name: getattr(model, f"geom_{name}")[i] for name in ("size", "pos", "quat")}}
    kind, mesh = _SHAPES[model.geom_type[i]], int(model.geom_dataid[i])
    return {"body": body, "shape": kind, "mesh": mesh, **{name: _rounded(x) for name, x in numbers.items()}}


def _mesh(model: Any, i: int) -> dict[str, Any]:
    vertices, faces = model.mesh_vertadr[i], model.mesh_faceadr[i]
    return {
        "vertices": _rounded(model.mesh_vert[vertices : vertices + model.mesh_vertnum[i]]),
        "faces": model.mesh_face[faces : faces + model.mesh_facenum[i]].tolist(),
    }


def _rounded(x: np.ndarray) -> list[Any]:
    """Tenths of a millimetre are not seen, and digits are most of a page."""
    return np.asarray(x, float).round(4).tolist()
