"""What was trained, to be looked at: frames, speed, cameras, pages."""

import os
import pathlib
import re
import subprocess
import sys
import types

import gymnasium
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from flax import struct
from helpers.runs import make_config
from test_viewer import scene

from mjx_sac import envs
from mjx_sac.cli import app
from mjx_sac.config import UsageError
from mjx_sac.envs.base import State
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import opengl, record, video
from mjx_sac.types import Step

SLIDER = """
<mujoco><worldbody>
  <camera name="side" pos="0 -3 1" xyaxes="1 0 0 0 0 1"/>
  <geom type="plane" size="5 5 1"/>
  <geom type="box" size="1 1 1" group="3"/>
  <body name="cart" pos="0 0 1"><joint type="slide" axis="1 0 0"/><geom type="ellipsoid" size="0.3 0.3 0.3" rgba="1 0 0 1"/></body>
</worldbody></mujoco>
"""


class Flash(gymnasium.Env):
    """Ends after three steps. Its image is as bright as 20 times its count of steps, plus 10 for every reset."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def __init__(self, render_mode=None):
        self.render_mode, self.count, self.resets = render_mode, 0, 0

    def reset(self, *, seed=None, options=None):
        self.count, self.resets = 0, self.resets + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(2, np.float32), float(action[0]), self.count == 3, False, {}

    def render(self):
        return np.full((17, 33, 3), 20 * self.count + 10 * self.resets, np.uint8)


class Mute(Flash):
    def __init__(self):
        super().__init__()


def policy(name, action=0.5, **overrides):
    """One that always does the same."""
    config = make_config(env=name, **{"episode_length": None, **overrides})
    return types.SimpleNamespace(
        config=config,
        iterations=128,
        predict=lambda _: (np.full(1, action), None),
        apply=lambda _: np.full(1, action),
    )


@pytest.fixture(autouse=True)
def _films():
    envs.register("flash", Flash)
    envs.register("mute", Mute)


def decoded(path):
    """Frames and frames per second of a film."""
    import av

    with av.open(str(path)) as file:
        rate = float(file.streams.video[0].average_rate)
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)], rate


def test_a_film_shows_whole_episodes_at_their_own_speed(tmp_path):
    """Two episodes of four images each, 10 a second. Pictures are cut to even sizes, and brightness survives within 3."""
    log = record.record(policy("flash"), tmp_path / "f.mp4", episodes=2)
    assert log == [record.Episode(1.5, 3, True)] * 2
    frames, rate = decoded(tmp_path / "f.mp4")
    assert rate == 10
    assert {frame.shape for frame in frames} == {(16, 32, 3)}
    np.testing.assert_allclose(
        [frame.mean() for frame in frames], [10, 30, 50, 70, 20, 40, 60, 80], atol=3
    )


def test_a_film_ends_after_the_seconds_asked_for(tmp_path):
    assert record.record(policy("flash"), tmp_path / "f.mp4", seconds=0.2) == [
        record.Episode(1.0, 2, False)
    ]
    assert len(decoded(tmp_path / "f.mp4")[0]) == 3


def test_actions_are_held_as_in_training(tmp_path):
    """The policy acts at steps 0 and 2 alone: 1 + 1 + 2."""
    actions = iter([1.0, 2.0])
    held = policy("flash", action_repeat=2)
    held.predict = lambda _: (np.full(1, next(actions)), None)
    assert record.record(held, tmp_path / "f.gif")[0].episode_return == 4.0


def test_a_gif_keeps_the_speed(tmp_path):
    from PIL import Image

    record.record(policy("flash"), tmp_path / "f.gif")
    with Image.open(tmp_path / "f.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (4, 100, 0)


@pytest.mark.parametrize(
    ("dt", "suffix", "period", "shown"),
    [
        (0.05, ".mp4", 0.05, [0, 1, 2, 3]),
        (0.008, ".mp4", 0.024, [0, 3, 6, 9]),  # 125 a second: every third, 41.7 a second
        (
            0.015,
            ".gif",
            0.05,
            [0, 4, 7, 10],
        ),  # 0.045 s is not in hundredths; at 0.05, 0.1, 0.15 s the next that is due
    ],
)
def test_more_frames_than_are_seen_are_left_out_at_the_same_speed(dt, suffix, period, shown):
    assert video.period(dt, suffix) == pytest.approx(period)
    assert list(video.thinned(range(shown[-1] + 1), dt, period)) == shown


class Inner(struct.PyTreeNode):
    qpos: object


class Slider:
    """A MuJoCo model moved by hand, one unit to the right every step of half a second."""

    observation_size = action_size = 1
    dt = 0.5
    mj_model = mujoco.MjModel.from_xml_string(SLIDER)

    def reset(self, key):
        return self.at(0.0)

    def step(self, state, action):
        state = self.at(state.inner.qpos[0] + 1.0)
        return state, Step(
            state.observation, jnp.array(1.0), state.observation[0] >= 3, jnp.array(False)
        )

    def at(self, x):
        return State(jnp.full(1, x), Inner(jnp.full(1, x)))


def test_a_page_holds_the_motion_and_all_it_needs(tmp_path):
    envs.register("slider", Slider)
    assert record.record(policy("slider"), tmp_path / "s.html") == [record.Episode(3.0, 3, True)]
    text = (tmp_path / "s.html").read_text()
    assert "slider after 128 iterations" in text
    assert re.search(r"@license[^/]*Three.js Authors", text)
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", text)
    assert not re.findall(r"^(?:import|export)\s", text, flags=re.M)
    played = scene(text)
    assert (played["dt"], played["root"]) == (0.5, 1)
    assert played["frames"] == [
        [[0, 0, 0, 1, 0, 0, 0], [x, 0, 1, 1, 0, 0, 0]] for x in (0, 1, 2, 3)
    ]
    # The box is of a group that MuJoCo does not show.
    assert [(geom["body"], geom["shape"]) for geom in played["geoms"]] == [
        (0, "plane"),
        (1, "ellipsoid"),
    ]
    assert (played["geoms"][1]["rgba"], played["geoms"][1]["size"]) == (
        [1, 0, 0, 1],
        [0.3, 0.3, 0.3],
    )


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("flash", "f.avi", "end it in .mp4, .gif, .html"),
        ("flash", "/proc/none/f.mp4", "choose another --out"),
        ("flash", "f.html", "has no MuJoCo model"),
        ("mute", "f.mp4", "cannot be made with render_mode"),
        ("counter", "f.mp4", "cannot be drawn: it has no MuJoCo model"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(monkeypatch, tmp_path, name, file, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        record.record(policy(name), pathlib.Path(file))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_cameras_are_chosen_by_name_or_follow():
    model = mujoco.MjModel.from_xml_string(SLIDER)
    assert record._camera(model, "side") == "side"
    assert record._camera(model, None).type == mujoco.mjtCamera.mjCAMERA_FREE
    with pytest.raises(UsageError, match="did you mean side"):
        record._camera(model, "sid")
    tracking = SLIDER.replace('name="side"', 'name="side" mode="trackcom"')
    assert record._camera(mujoco.MjModel.from_xml_string(tracking), None) == 0
    floating = re.sub("<camera[^>]*>", "", SLIDER).replace(
        '<joint type="slide" axis="1 0 0"/>', "<freejoint/>"
    )
    assert (
        record._camera(mujoco.MjModel.from_xml_string(floating), None).type
        == mujoco.mjtCamera.mjCAMERA_TRACKING
    )


def test_without_opengl_the_line_names_the_way_out(monkeypatch):
    def broken(*_):
        raise mujoco.FatalError("no display")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    with pytest.raises(
        UsageError, match=r"MUJOCO_GL: cannot draw \(no display\).*\.html, which needs no OpenGL"
    ):
        record._renderer(mujoco.MjModel.from_xml_string(SLIDER), None)


def test_the_command_refuses_before_anything_is_built(capsys, monkeypatch, tmp_path):
    from mjx_sac.runs import stored_policy

    monkeypatch.setattr(
        stored_policy, "checkpoint", lambda *_: types.SimpleNamespace(config=make_config(env="ant"))
    )
    monkeypatch.setattr(opengl, "choose", lambda: "egl: no library")
    with pytest.raises(SystemExit) as stop:
        app.main(["record", str(tmp_path)])
    assert stop.value.code == 2
    assert "no OpenGL here (egl: no library)" in capsys.readouterr().err


def test_gymnasiums_own_camera_is_checked(tmp_path):
    env = GymnasiumEnvironment("Ant-v5", lambda **k: gymnasium.make("Ant-v5", **k))
    with pytest.raises(UsageError, match="camera = 'side': the model has no such camera"):
        record._on_host(policy("Ant-v5"), env, record._Plan(1, 1.0, 1, []), False, "side")


DRAW = f"""
from mjx_sac import gl
assert gl.choose() is None, "no OpenGL"
import mujoco
from mjx_sac import render
model = mujoco.MjModel.from_xml_string({SLIDER!r})
data, image = mujoco.MjData(model), render._renderer(model, "side")
for x in (-0.8, 0.8):
    data.qpos[0] = x
    mujoco.mj_forward(model, data)
    drawn = image(data).astype(int)
    red = (drawn[..., 0] > 2 * drawn[..., 1]).nonzero()
    print(drawn.shape, red[1].mean() / drawn.shape[1])
"""


def test_mujoco_draws_what_is_left_to_the_left_and_what_is_right_to_the_right():
    """In a process of its own: here MuJoCo was imported before a way to OpenGL was chosen."""
    if all(map(opengl.problem, opengl.BACKENDS)):
        pytest.skip("no OpenGL here")
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    out = subprocess.run(
        [sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True, check=True
    ).stdout
    shapes, places = zip(*(line.rsplit(" ", 1) for line in out.splitlines()), strict=True)
    assert shapes == ("(480, 640, 3)",) * 2
    assert float(places[0]) < 0.4 < 0.6 < float(places[1])


@pytest.mark.slow
def test_ant_is_recorded(tmp_path):
    """A Brax environment: 0.15 s are three steps of 0.05 s."""
    still = policy("ant")
    still.apply = lambda _: jnp.zeros(8)
    (episode,) = record.record(still, tmp_path / "a.html", seconds=0.15)
    assert (episode.length, episode.ended) == (3, False)
    played = scene((tmp_path / "a.html").read_text())
    assert played["dt"] == pytest.approx(0.05)
    assert np.shape(played["frames"]) == (4, 10, 7)
    assert {"plane", "sphere", "capsule"} == {geom["shape"] for geom in played["geoms"]}
