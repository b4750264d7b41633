"""A page that plays the motion of a MuJoCo model in any browser, offline: Brax's viewer with the libraries it needs inside.

Brax's own page (`brax.io.html`) loads three.js and others from the network. The files beside this one are those libraries, as
published; `LICENSES` says whose they are.
"""

# pyright: basic
import base64
import html
import pathlib
import re
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np

_HERE = pathlib.Path(__file__).parent
_DRAWN = (0, 2, 3, 5, 6, 7)  # plane, sphere, capsule, cylinder, box, mesh: the viewer knows no others
_PLANE, _SPHERE, _ELLIPSOID = 0, 2, 4


def page(model: Any, positions: np.ndarray, rotations: np.ndarray, dt: float, title: str) -> str:
    """The page as text.

    Args:
      model: a MuJoCo model. Ellipsoids are shown as spheres; height fields are not shown.
      positions: of its bodies, the world first: [time, body, 3].
      rotations: as quaternions, [time, body, 4].
      dt: seconds between them.
      title: shown in a corner.
    """
    from brax.io import json

    # Brax's function reads a `brax.System`, yet of that only what a MuJoCo model has.
    states = [_record(x=_record(pos=x, rot=r)) for x, r in zip(positions[:, 1:].round(4), rotations[:, 1:].round(4), strict=True)]
    data = base64.b64encode(zlib.compress(json.dumps(_system(model, dt), states).encode(), 9)).decode()
    parts = {"title": html.escape(title), "libraries": _libraries(), "viewer": _viewer(), "data": data}
    return re.sub("%(title|libraries|viewer|data)%", lambda match: parts[match[1]], (_HERE / "page.html").read_text())


def _record(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


def _system(model: Any, dt: float) -> Any:
    """Of a MuJoCo model what is seen: as in MuJoCo's own renderer, geoms of the groups 0 to 2."""
    kinds = np.where(model.geom_type == _ELLIPSOID, _SPHERE, model.geom_type)
    colors = np.where(model.geom_matid[:, None] >= 0, model.mat_rgba[model.geom_matid] if model.nmat else 0, model.geom_rgba)
    shown = np.flatnonzero((model.geom_group <= 2) & (colors[:, 3] > 0) & np.isin(kinds, _DRAWN))
    geoms = {f"geom_{name}": getattr(model, f"geom_{name}")[shown] for name in ("bodyid", "pos", "quat", "size", "dataid")}
    geoms["geom_size"][kinds[shown] == _PLANE] = 0.0  # endless and chequered, so that motion is seen
    meshes = {name: getattr(model, name) for name in ("nmesh", "mesh_faceadr", "mesh_face", "mesh_vertadr", "mesh_vert")}
    return _record(
        opt=_record(timestep=dt),
        link_names=[model.body(i).name for i in range(1, model.nbody)],
        ngeom=len(shown),
        geom_type=kinds[shown],
        mj_model=_record(geom_rgba=colors[shown], **meshes),
        **geoms,
    )


def _libraries() -> str:
    warning = r"console\.warn\( 'Scripts .*?\);\n"  # that later releases come as modules alone
    return re.sub(warning, "", (_HERE / "three.min.js").read_text()) + (_HERE / "lil-gui.umd.min.js").read_text()


def _viewer() -> str:
    """Brax's modules and the one of three.js they use, as one: a page in a file cannot import others."""
    import brax

    controls = (_HERE / "OrbitControls.js").read_text().replace("import {", "const {").replace("} from 'three'", "} = THREE")
    parts = [f"const {{GUI}} = lil;\nconst OrbitControls = (() => {{\n{_without_imports(controls)}\nreturn OrbitControls;\n}})();"]
    folder = pathlib.Path(brax.__path__[0]) / "visualizer" / "js"
    parts += [_without_imports((folder / f"{name}.js").read_text()) for name in ("animator", "selector", "system", "viewer")]
    return "\n".join(parts)


def _without_imports(source: str) -> str:
    return re.sub(r"^(import|export)\s[^;]*;", "", source, flags=re.M)
