"""`record`: whole episodes of small environments, read back from the files."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from helpers import cli, slider
from helpers.envs import Counter
from helpers.pages import scene
from helpers.policies import constant
from helpers.runs import make_policy, save_run
from helpers.slider import Slider

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import opengl
from mjx_sac.policy.record import Episode, _HostScene, record


class Flash(gymnasium.Env):
    """Ends after three steps, and rewards the action.

    Its image is as bright as 20 times its count of steps, plus 10 for every reset.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-9, 9, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))
    actions = []

    def __init__(self, render_mode=None):
        self.render_mode, self.count, self.resets = render_mode, 0, 0

    def reset(self, *, seed=None, options=None):
        self.count, self.resets = 0, self.resets + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        self.actions.append(action.item())
        observation = np.full(2, self.count, np.float32)
        return observation, float(action[0]), self.count == 3, False, {}

    def render(self):
        return np.full((17, 33, 3), 20 * self.count + 10 * self.resets, np.uint8)


class Strong(Flash):
    action_space = gymnasium.spaces.Box(-8, 8, (1,))


class Mute(Flash):
    def __init__(self):
        super().__init__()


@pytest.fixture(autouse=True, scope="module")
def _registered():
    envs.register("flash", Flash)
    envs.register("strong", Strong)
    envs.register("mute", Mute)
    envs.register("slider", Slider)


def policy(name, **overrides):
    """An untrained one for that environment."""
    shape = {"flash": GymnasiumEnvironment("flash", Flash), "slider": Slider()}
    if envs.is_gym_id(name):
        shape[name] = envs.make(name)
    environment = shape.get(name) or Counter()
    return make_policy(environment, env=name, **{"episode_length": None, **overrides})


def decoded(path):
    """Frames and frames per second of a video."""
    import av

    with av.open(str(path)) as file:
        rate = float(file.streams.video[0].average_rate)
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)], rate


def test_a_video_shows_whole_episodes_at_their_own_speed(tmp_path):
    """Two of four images each, 10 a second; three actions of 2. Brightness survives within 3."""
    log = record(constant(policy("flash"), 100), tmp_path / "f.mp4", episodes=2)
    assert log == [Episode(6.0, 3, True)] * 2
    frames, rate = decoded(tmp_path / "f.mp4")
    assert rate == 10
    assert {frame.shape for frame in frames} == {(16, 32, 3)}
    brightness = [frame.mean() for frame in frames]
    np.testing.assert_allclose(brightness, [10, 30, 50, 70, 20, 40, 60, 80], atol=3)


def test_another_environment_acts_within_its_own_bounds(tmp_path):
    full = constant(policy("flash"), 100)
    assert record(full, tmp_path / "f.gif", env="strong") == [Episode(24.0, 3, True)]
    assert record(full, tmp_path / "f.gif") == [Episode(6.0, 3, True)]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--env", "slider"], "has 1 numbers and an action 1, the policy was trained with 2 and 1"),
        (["--env", "atn"], "did you mean ant?"),
        (["--backend", "x"], "backend = 'x'"),
    ],
)
def test_the_command_refuses_another_environment_in_a_line(capsys, tmp_path, flags, words):
    save_run(tmp_path / "run")
    code, _, err = cli.run(capsys, "record", tmp_path / "run", "--out", tmp_path / "r.html", *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


@pytest.mark.parametrize(("seconds", "episode_length"), [(0.2, None), (10.0, 2)])
def test_an_episode_ends_at_the_limit_asked_for(tmp_path, seconds, episode_length):
    still = constant(policy("flash", episode_length=episode_length), 100)
    assert record(still, tmp_path / "f.mp4", seconds=seconds) == [Episode(4.0, 2, False)]
    assert len(decoded(tmp_path / "f.mp4")[0]) == 3


def test_actions_are_held_as_in_training(tmp_path):
    """The policy acts at steps 0 and 2, where it sees zeros and twos."""
    Flash.actions.clear()
    held = policy("flash", action_repeat=2)
    first, third = (held.predict(np.full(2, count))[0].item() for count in (0, 2))
    record(held, tmp_path / "f.gif")
    assert Flash.actions[-3:] == pytest.approx([first, first, third])
    assert first != pytest.approx(third)


class Paying(Slider):
    """Pays the action."""

    def step(self, state, action):
        state, step = super().step(state, action)
        return state, step._replace(reward=action[0])


@pytest.mark.parametrize("name", ["flash", "paying"])
def test_each_episode_has_its_own_history(tmp_path, name):
    """On the host and on the device: three steps, which see zeros, ones and twos, twice."""
    envs.register("paying", Paying)
    own = (
        policy("flash", history=3)
        if name == "flash"
        else make_policy(Paying(), env="paying", history=3)
    )
    log = record(own, tmp_path / ("f.gif" if name == "flash" else "f.html"), episodes=2)
    total, memory = 0.0, None
    for count in range(3):
        seen = np.full(own.observation_size, count)
        action, memory = own.predict(seen, memory, count == 0)
        total += action.item()
    assert [episode.episode_return for episode in log] == pytest.approx([total, total], abs=1e-5)
    assert abs(total) > 1e-3


def test_a_gif_keeps_the_speed(tmp_path):
    from PIL import Image

    record(policy("flash"), tmp_path / "f.gif")
    with Image.open(tmp_path / "f.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (4, 100)


def test_a_page_holds_the_motion(tmp_path):
    """A second episode begins where the first did. The box is of a group that is not shown."""
    assert record(policy("slider"), tmp_path / "s.html", episodes=2) == [Episode(3.0, 3, True)] * 2
    text = (tmp_path / "s.html").read_text()
    assert "slider after 32 iterations" in text
    page = scene(text)
    world, places = [0, 0, 0, 1, 0, 0, 0], 2 * [0, 1, 2, 3]
    assert (page["dt"], page["root"]) == (0.5, 1)
    assert page["frames"] == [[world, [x, 0, 1, 1, 0, 0, 0]] for x in places]
    assert [(geom["body"], geom["shape"]) for geom in page["geoms"]] == [
        (0, "plane"),
        (1, "ellipsoid"),
    ]


def test_a_page_of_gymnasiums_environment_holds_mujocos_poses(tmp_path):
    """Of two bodies in the plane y = 0; the world is the third. 0.08 s are two steps of 0.04 s."""
    env = GymnasiumEnvironment(
        "p", lambda **kwargs: gymnasium.make("InvertedPendulum-v5", **kwargs)
    )
    pendulum = make_policy(env, env="InvertedPendulum-v5", episode_length=None)
    (episode,) = record(pendulum, tmp_path / "p.html", seconds=0.08)
    assert episode.length == 2
    frames = np.array(scene((tmp_path / "p.html").read_text())["frames"])
    assert frames.shape == (3, 3, 7)
    np.testing.assert_allclose(frames[:, :, 1], 0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(frames[:, :, 3:], axis=-1), 1, atol=1e-3)
    assert np.ptp(frames[:, 1:], axis=0).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("flash", "f.avi", "end it in .mp4, .gif, .html"),
        ("flash", "f.html", "has no MuJoCo model"),
        ("mute", "f.mp4", "cannot be made with render_mode"),
        ("counter", "f.mp4", "cannot be drawn: it has no MuJoCo model"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(tmp_path, name, file, words):
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        record(policy(name), tmp_path / file)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "camera", "hint"),
    [("slider", "sid", "; did you mean side?"), ("InvertedPendulum-v5", "side", "")],
)
def test_an_unknown_camera_is_refused(tmp_path, name, camera, hint):
    with pytest.raises(UsageError, match=re.escape(f"model has no such camera{hint}")):
        record(policy(name), tmp_path / "f.mp4", camera=camera)


def test_the_camera_follows_in_gymnasiums_environments_too():
    """HalfCheetah's model has one that tracks it, Gymnasium's own stands still."""
    env = envs.make("HalfCheetah-v5")
    cheetah = make_policy(env, env="HalfCheetah-v5", episode_length=None)
    for camera in (None, "track"):
        with contextlib.closing(_HostScene(cheetah, env, camera, draw=False)) as shown:
            chosen = shown._env.unwrapped.mujoco_renderer.camera_id
            assert shown.model.camera(chosen).name == "track"


def test_without_opengl_the_line_names_the_way_out(monkeypatch, tmp_path):
    def broken(*_):
        raise mujoco.FatalError("no display")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    line = r"MUJOCO_GL: cannot draw \(no display\).*\.html, which needs no OpenGL"
    with pytest.raises(UsageError, match=line):
        record(policy("slider"), tmp_path / "f.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no choice")
@pytest.mark.parametrize("env", ["ant", "mjx/InvertedPendulum-v5", "playground/CheetahRun"])
def test_the_command_refuses_before_anything_is_built(tmp_path, env):
    save_run(tmp_path / "run", env=env)
    command = [sys.executable, "-m", "mjx_sac", "record", "run"]
    environment = {**os.environ, "MUJOCO_GL": "nonsense"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "MUJOCO_GL: no OpenGL here (nonsense: " in done.stderr
    assert os.listdir(tmp_path) == ["run"]


DRAW = """
import json, pathlib, sys
from mjx_sac.policy import opengl
assert opengl.choose() is None
import imageio.v3
from helpers.runs import make_policy
from helpers.slider import Slider
from mjx_sac import envs
from mjx_sac.policy.record import record

def place(frame):
    red = (frame[..., 0] > 2.0 * frame[..., 1]).nonzero()
    return red[1].mean() / frame.shape[1]

for xml, camera in json.load(sys.stdin):
    envs.register("slider", lambda: Slider(xml))
    policy = make_policy(Slider(xml), env="slider")
    record(policy, pathlib.Path("s.mp4"), camera=camera, seconds=0.5)
    frames = imageio.v3.imread("s.mp4", plugin="pyav")
    print(json.dumps([frames.shape, [place(frame) for frame in frames]]))
"""
NO_CAMERA = re.sub("<camera[^>]*>", "", slider.XML)
FLOATING = NO_CAMERA.replace('<joint type="slide" axis="1 0 0"/>', "<freejoint/>")
FOLLOWING = slider.XML.replace('name="side"', 'name="side" mode="trackcom"')


def test_cameras_stand_still_or_follow(tmp_path):
    """In a process that chooses a way to OpenGL: here MuJoCo is imported already."""
    if all(map(opengl.problem, opengl.BACKENDS)):
        pytest.skip("no OpenGL here")
    cases = [(slider.XML, "side"), (NO_CAMERA, None), (FLOATING, None), (FOLLOWING, None)]
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    environment["PYTHONPATH"] = str(pathlib.Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        env=environment,
        cwd=tmp_path,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    shapes, places = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
    assert shapes == ([2, 480, 640, 3],) * 4
    # By hand: 3 away half the picture is 3 * tan(45 / 2 degrees) * 640 / 480 = 1.66 wide.
    assert places[0] == pytest.approx([0.5, 0.5 + 1 / 1.66 / 2], abs=0.02)
    assert places[1][1] > places[1][0] + 0.05
    for following in places[2:]:
        assert following[1] == pytest.approx(following[0], abs=0.02)


@pytest.mark.slow
def test_ant_is_recorded(tmp_path):
    """0.15 s are three steps of 0.05 s."""
    ant = make_policy(envs.make("ant", make_policy(Counter()).config), env="ant")
    (episode,) = record(ant, tmp_path / "a.html", seconds=0.15)
    assert (episode.length, episode.ended) == (3, False)
    page = scene((tmp_path / "a.html").read_text())
    assert page["dt"] == pytest.approx(0.05)
    assert np.shape(page["frames"]) == (4, 10, 7)
    assert {"plane", "sphere", "capsule"} == {geom["shape"] for geom in page["geoms"]}
