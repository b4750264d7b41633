"""The page that plays a motion: its data against MuJoCo, its parts, and that it is offline."""

import pathlib
import re
import tomllib
import zipfile

import mujoco
import numpy as np
import pytest
from helpers.pages import scene

from mjx_sac.config import UsageError
from mjx_sac.policy import viewer

SHAPES = """
<mujoco><asset>
  <mesh name="tent" vertex="0 0 0  .4 0 0  0 .4 0  0 0 .4  .3 .3 .3"/>
  <material name="gold" rgba=".9 .8 .1 1"/>
</asset><worldbody>
  <geom type="plane" size="5 5 1"/>
  <geom type="box" size="9 9 9" group="3"/>
  <geom type="box" size="9 9 9" rgba="1 1 1 0"/>
  <body name="empty" pos="9 9 9"/>
  <body pos="1 2 3" euler="10 20 30"><freejoint/>
    <geom type="sphere" size=".2" pos="-1 0 0"/>
    <geom type="ellipsoid" size=".3 .15 .1" euler="0 30 40"/>
    <geom type="capsule" size=".08 .3" euler="0 30 0"/>
    <body pos="0 0 1" euler="40 0 0">
      <geom type="cylinder" size=".12 .2" euler="60 0 20" material="gold"/>
      <geom type="box" size=".2 .1 .15" euler="0 0 30" material="gold" rgba="1 0 1 .5"/>
      <geom type="mesh" mesh="tent" pos="0 1 0"/>
      <geom type="mesh" mesh="tent" pos="0 2 0"/>
    </body>
  </body>
</worldbody></mujoco>
"""
SHOWN = [0, *range(3, 10)]
"""Geoms that MuJoCo shows: neither those of group 3 nor what cannot be seen."""


def played(xml, move=(0, 0, 0), title="shapes"):
    """A page of two moments, between which everything but the world moves; MuJoCo's model, data."""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    poses = np.stack([np.concatenate([data.xpos, data.xquat], axis=-1)] * 2)
    poses[1, 1:, :3] += move
    return viewer.page(model, poses, 0.1, title), model, data


def rotated(quaternion, x):
    y = np.empty(3)
    mujoco.mju_rotVecQuat(y, np.asarray(x, float), np.asarray(quaternion, float))
    return y


def test_every_shape_is_where_mujoco_has_it():
    """A point of each geom, taken by its own pose and then by its body's."""
    text, model, data = played(SHAPES)
    page, point = scene(text), np.array([0.1, 0.2, 0.3])
    assert len(page["geoms"]) == len(SHOWN)
    for i, geom in zip(SHOWN, page["geoms"], strict=True):
        body = page["frames"][0][geom["body"]]
        here = geom["pos"] + rotated(geom["quat"], point)
        there = body[:3] + rotated(body[3:], here)
        expected = data.geom_xpos[i] + data.geom_xmat[i].reshape(3, 3) @ point
        np.testing.assert_allclose(there, expected, atol=5e-4)  # rounded to 1e-4
        np.testing.assert_allclose(geom["size"], model.geom_size[i], atol=1e-4)


def test_shapes_and_colours_are_those_of_the_model():
    geoms = scene(played(SHAPES)[0])["geoms"]
    assert [geom["shape"] for geom in geoms] == [
        *("plane", "sphere", "ellipsoid", "capsule", "cylinder", "box", "mesh", "mesh")
    ]
    # A material's colour, unless the geom has another one.
    assert [geom["rgba"] for geom in geoms[4:6]] == [[0.9, 0.8, 0.1, 1], [1, 0, 1, 0.5]]


def test_geoms_of_one_mesh_share_its_triangles():
    text, model, _ = played(SHAPES)
    page = scene(text)
    first, second = page["geoms"][-2:]
    assert first["surface"] == second["surface"]
    assert list(page["surfaces"]) == [first["surface"]]
    triangles = page["surfaces"][first["surface"]]
    np.testing.assert_allclose(triangles["vertices"], model.mesh_vert, atol=1e-4)
    np.testing.assert_array_equal(triangles["faces"], model.mesh_face)


def test_frames_hold_the_motion_of_bodies_that_are_shown():
    """The world, the root and its child; not the body without a geom."""
    text, _, data = played(SHAPES, move=(2, 0, 0))
    page = scene(text)
    assert (page["dt"], page["root"]) == (0.1, 1)
    frames = np.array(page["frames"])
    np.testing.assert_allclose(frames[0, :, :3], data.xpos[[0, 2, 3]], atol=1e-4)
    np.testing.assert_allclose(frames[0, :, 3:], data.xquat[[0, 2, 3]], atol=1e-4)
    moved = frames[1] - frames[0]
    np.testing.assert_allclose(moved[:, 0], [0, 2, 2], atol=2e-4)
    assert not moved[:, 1:].any()


HILLS = """
<mujoco><asset>
  <hfield name="hill" nrow="2" ncol="3" size="2 1 .5 .1" elevation="0 .1 .2 .4 .6 1"/>
</asset><worldbody><geom type="hfield" hfield="hill"/></worldbody></mujoco>
"""


def test_height_fields_are_as_high_as_a_ray_finds_them():
    text, model, data = played(HILLS)
    page = scene(text)
    surface = page["surfaces"][page["geoms"][0]["surface"]]
    vertices, faces = np.array(surface["vertices"]), np.array(surface["faces"])

    def height(x, y):
        start, down = np.array([x, y, 9.0]), np.array([0, 0, -1.0])
        return 9 - mujoco.mj_ray(model, data, start, down, None, 1, -1, np.zeros(1, np.int32))

    # A hair inside of the border, and inside of every triangle.
    points = 0.999 * vertices[:, :2], vertices[faces].mean(axis=1)[:, :2]
    heights = vertices[:, 2], vertices[faces].mean(axis=1)[:, 2]
    found = [height(*point) for point in np.concatenate(points)]
    np.testing.assert_allclose(found, np.concatenate(heights), atol=0.002)
    # Two triangles for each of two squares, seen from above counterclockwise, cover 4 x 2.
    a, b, c = (vertices[faces[:, i], :2] for i in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert areas.tolist() == [2, 2, 2, 2]


def test_a_page_is_whole_and_offline():
    text, *_ = played(SHAPES, title="<shapes>")
    library = viewer.three()
    assert re.match(r"/\*\*\s+\* @license[^/]*Three.js Authors", library)
    assert text.count(library) == 1
    assert "<title>&lt;shapes&gt;</title>" in text
    own = text.replace(library, "")
    assert not re.findall(r"%\w+%", own)
    for fetches in ("http", "src=", "href=", "import", "fetch(", "url(", "XMLHttpRequest", "//cdn"):
        assert fetches not in own
    assert {"WebGLRenderer", "CapsuleGeometry"} <= set(
        re.findall(r"\w+Renderer|\w+Geometry", library)
    )


@pytest.mark.parametrize("content", [None, "<script>import {WebGLRenderer} from 'three'</script>"])
def test_a_trimesh_without_three_is_refused(monkeypatch, tmp_path, content):
    folder = tmp_path / "resources" / "templates"
    folder.mkdir(parents=True)
    if content:
        with zipfile.ZipFile(folder / "viewer.zip", "w") as file:
            file.writestr("viewer.html.template", content)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    viewer.three.cache_clear()
    way_out = rf"holds no three.js.*trimesh=={viewer.TRIMESH}, or record an .mp4"
    with pytest.raises(UsageError, match=rf"^trimesh = \S+: {way_out}") as error:
        viewer.three()
    assert "\n" not in str(error.value)


def test_the_trimesh_named_as_the_way_out_is_the_one_tested():
    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert f"trimesh=={viewer.TRIMESH}" in project["tool"]["uv"]["constraint-dependencies"]
