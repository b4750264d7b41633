"""The recorded page in a real browser: it draws what MuJoCo draws, plays, seeks, turns."""

import json
import math
import os
import pathlib
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from helpers import browser
from helpers.runs import make_config

from mjx_sac import envs
from mjx_sac.envs.spaces import mujoco_model
from mjx_sac.policy import opengl, viewer

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium here")

BALL = """
<mujoco><worldbody>
  <geom type="plane" size="5 5 1"/>
  <body pos="0 0 1"><freejoint/><geom type="sphere" size=".2" rgba="1 0 0 1"/></body>
</worldbody></mujoco>
"""


def page(model, moves=((0, 0, 0),), **more):
    """A page in which all bodies but the world make these moves from their first pose."""
    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    poses = np.stack([np.concatenate([data.xpos, data.xquat], axis=-1)] * len(moves))
    poses[:, 1:, :3] += np.array(moves)[:, None]
    return viewer.page(model, poses, 0.5, "title", **more), data


def test_it_plays_seeks_and_shows_the_return():
    model = mujoco.MjModel.from_xml_string(BALL)
    moves = [(0, 0, z) for z in range(200)]
    text, _ = page(model, moves, returns=[0.0, 1.25, *[-2.5] * 198])
    script = """
        const texts = [], place = () => [Number(element("slider").value), performance.now() / 1000];
        await frame();
        const begun = place();
        while (place()[1] < begun[1] + 0.5) await frame();
        const played = place();
        element("play").click();
        for (const t of [0, 0.4, 0.5, 1]) {
          await seek(t);
          texts.push(element("time").textContent);
        }
        return [begun, played, texts, element("play").textContent, document.title];
    """
    begun, played, texts, button, title = browser.run(text, script)
    shown, passed = np.subtract(played, begun)
    assert shown == pytest.approx(passed, rel=0.5)
    assert texts == [
        "0.00 s of 99.50 s, return 0.0",
        "0.40 s of 99.50 s, return 0.0",
        "0.50 s of 99.50 s, return 1.3",
        "1.00 s of 99.50 s, return -2.5",
    ]
    assert (button, title) == ("play", "title")


def test_a_ghost_is_translucent_and_is_looked_at_too():
    """A red ball and, where it was, a ghost that is left behind: 0, 1, 2 and 9 metres.

    The page looks at the middle from farther away, up to half of 16 radii; then at the first alone.
    """
    model = mujoco.MjModel.from_xml_string(BALL)
    _, data = page(model)
    still = np.stack([np.concatenate([data.xpos, data.xquat], axis=-1)] * 4)
    poses = still.copy()
    poses[:, 1, 0] += [0, 1, 2, 9]
    ghost = "other <b>", still, [0.0, -1.0, -2.0, -9.0]
    text = viewer.page(model, poses, 0.5, "title", [0, 1, 2, 9], ghost)
    script = """
        element("play").click();
        const seen = [];
        for (const t of [0, 0.5, 1, 1.5]) {
          await seek(t);
          const {camera, target} = probe;
          const distance = camera.position.distanceTo(target);
          seen.push([target.toArray(), distance, element("time").textContent]);
        }
        await seek(1);
        const {camera} = probe, spots = [2, 0].map(x => new THREE.Vector3(x, 0, 1).project(camera));
        return [seen, spots, await picture(), element("title").innerText];
    """
    seen, spots, picture, title = browser.run(text, script)
    places, distances, texts = zip(*seen, strict=True)
    radius = 0.2 * math.sqrt(3)  # of the sphere around the cube around the ball
    np.testing.assert_allclose(places, [(x, 0, 1) for x in (0, 0.5, 1, 9)], atol=1e-5)
    np.testing.assert_allclose(distances, 3 * radius + np.array([0, 1, 2, 0]), rtol=1e-4)
    assert texts[1] == "0.50 s of 1.50 s, return 1.0, translucent -1.0"
    assert title.endswith("translucent: other <b>")
    image = browser.pixels(picture).astype(int)
    height, width, _ = image.shape
    ball, other = (
        image[round((1 - s["y"]) / 2 * height), round((1 + s["x"]) / 2 * width)] for s in spots
    )
    assert ball[0] > 150 > 60 > ball[1:].max(), "red"
    assert other[1:].min() > 60, "the floor shines through"


def test_dragging_turns_and_the_wheel_zooms():
    """0.008 radians for each pixel; a distance times exp(0.001) for each unit of the wheel."""
    text, _ = page(mujoco.MjModel.from_xml_string(BALL))
    script = """
        const canvas = document.querySelector("canvas");
        const side = () => probe.camera.position.clone().sub(probe.target).toArray();
        const before = side();
        const move = {buttons: 1, movementX: 100, movementY: 20};
        canvas.dispatchEvent(new PointerEvent("pointermove", move));
        canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: 500}));
        await frame(); await frame();
        return [before, side()];
    """
    before, after = np.array(browser.run(text, script))
    azimuth, elevation = -1.9, 0.35  # of the page
    for x, turned, raised, far in ((before, 0, 0, 1), (after, -0.8, 0.16, math.exp(0.5))):
        distance = 3 * 0.2 * math.sqrt(3) * far  # the sphere around the cube around the ball
        level = math.cos(elevation + raised)
        expected = [
            *(level * math.cos(azimuth + turned), level * math.sin(azimuth + turned)),
            math.sin(elevation + raised),
        ]
        np.testing.assert_allclose(x, distance * np.array(expected), rtol=1e-3)


SHAPES = """
<mujoco><asset><mesh name="tent" vertex="0 0 0  .4 0 0  0 .4 0  0 0 .4  .3 .3 .3"/></asset>
<worldbody><geom type="plane" size="5 5 1"/>
  <body pos="0 0 1" euler="10 20 30"><freejoint/>
    <geom type="sphere" size=".2" pos="-1 0 0"/>
    <geom type="ellipsoid" size=".3 .15 .1" euler="0 30 40"/>
    <geom type="capsule" size=".08 .3" pos="0 .5 0" euler="0 30 0"/>
    <geom type="cylinder" size=".12 .2" pos=".6 0 0" euler="60 0 20"/>
    <geom type="box" size=".2 .1 .15" pos="0 -.6 0" euler="0 0 30"/>
    <geom type="mesh" mesh="tent" pos=".3 .3 .3"/>
  </body>
</worldbody></mujoco>
"""


def gymnasium_model(name):
    env = gymnasium.make(name)
    model = env.unwrapped.model
    env.close()
    return model


MODELS = {
    "shapes": lambda: mujoco.MjModel.from_xml_string(SHAPES),
    "ant": lambda: mujoco_model(envs.make("ant", make_config()).env),
    "Humanoid-v5": lambda: gymnasium_model("Humanoid-v5"),
    "go1": lambda: mujoco_model(envs.make("playground/Go1JoystickFlatTerrain", make_config()).env),
}

# In a process that chooses a way to OpenGL: here MuJoCo is imported already.
SEGMENT = """
import json, sys
from mjx_sac.policy import opengl
assert opengl.choose() is None
import mujoco, numpy as np

file, qpos, width, height, lookat, distance, azimuth, elevation = json.load(sys.stdin)
model = mujoco.MjModel.from_binary_path(file)
model.vis.global_.fovy = 45
data = mujoco.MjData(model)
data.qpos[:] = qpos
mujoco.mj_forward(model, data)
camera = mujoco.MjvCamera()
camera.lookat[:], camera.distance = lookat, distance
camera.azimuth, camera.elevation = azimuth, elevation
renderer = mujoco.Renderer(model, height, width)
renderer.enable_segmentation_rendering()
renderer.update_scene(data, camera)
ids, kinds = np.moveaxis(renderer.render(), -1, 0)
geom = int(mujoco.mjtObj.mjOBJ_GEOM)
plane = model.geom_type[ids] == int(mujoco.mjtGeom.mjGEOM_PLANE)
np.save("mask.npy", (kinds == geom) & ~plane)
"""


def mujoco_draws(model, data, where, width, height, directory):
    """Return where MuJoCo's own renderer draws anything but planes, seen as the page sees it."""
    mujoco.mj_saveModel(model, str(directory / "model.mjb"), None)
    camera, target = np.array(where["camera"]), np.array(where["target"])
    ahead = target - camera
    distance = np.linalg.norm(ahead)
    angles = math.atan2(ahead[1], ahead[0]), math.asin(ahead[2] / distance)
    given = [
        *(str(directory / "model.mjb"), data.qpos.tolist(), width, height),
        *(target.tolist(), distance, *map(math.degrees, angles)),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    environment["PYTHONPATH"] = str(pathlib.Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", SEGMENT],
        input=json.dumps(given),
        env=environment,
        cwd=directory,
        text=True,
        check=True,
    )
    return np.load(directory / "mask.npy")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_its_silhouette_is_that_of_mujocos_renderer(name, tmp_path, request):
    if all(map(opengl.problem, opengl.BACKENDS)):
        pytest.skip("no OpenGL here")
    if name == "go1":
        request.getfixturevalue("robots")
    model = MODELS[name]()
    model.vis.global_.offwidth = model.vis.global_.offheight = 1000
    text, data = page(model)
    script = """
        element("play").click();
        await seek(0);
        probe.scene.traverse(object => {  // no floor, shadows, light or haze: black on white
          if (object.geometry?.type === "PlaneGeometry") object.visible = false;
          if (object.material) object.material = new THREE.MeshBasicMaterial({color: 0});
        });
        probe.scene.fog = null;
        probe.scene.background = new THREE.Color("white");
        await frame();
        const camera = probe.camera.position.toArray(), target = probe.target.toArray();
        return {camera, target, picture: await picture()};
    """
    found = browser.run(text, script)
    ours = browser.pixels(found["picture"]).max(axis=-1) < 128
    theirs = mujoco_draws(model, data, found, *ours.shape[::-1], tmp_path)
    assert 0.01 < theirs.mean() < 0.5
    overlap = (ours & theirs).sum() / (ours | theirs).sum()
    assert overlap > 0.97, overlap
