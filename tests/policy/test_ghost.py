"""`record RUN RUN2`: a second policy in the same scene, from the same states."""

import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import cli
from helpers.pages import scene
from helpers.policies import constant
from helpers.runs import make_policy, save_run
from helpers.slider import Slider

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.policy import opengl
from mjx_sac.policy.record import Episode, record


class Pushed(Slider):
    """Its body begins a little to the right, by chance, and moves by the action, which it pays."""

    def reset(self, key):
        return self._at(jax.random.uniform(key, maxval=0.1))

    def step(self, state, action):
        state = self._at(state.inner.qpos[0] + action[0])
        return state, super().step(state, action)[1]._replace(
            observation=state.observation, reward=action[0], terminated=state.observation[0] >= 2
        )


@pytest.fixture(autouse=True, scope="module")
def _registered():
    envs.register("pushed", Pushed)


def pushing(action, **overrides):
    policy = make_policy(Pushed(), **{"env": "pushed", "episode_length": None, **overrides})
    return constant(policy, np.arctanh(action))


def test_it_starts_where_the_first_does_and_waits_for_it(tmp_path):
    """From x to at least 2: by 0.8 in three steps, by 0.5 in four; the seeds differ."""
    slow = pushing(0.5, seed=7, logdir="runs/slow", action_repeat=2)
    log = record(pushing(0.8), tmp_path / "p.html", ghost=slow, episodes=2)
    for episode in log:
        assert episode[:3] == (pytest.approx(2.4), 3, True)
        assert episode.ghost == Episode(pytest.approx(2.0), 4, True)
    page = scene((tmp_path / "p.html").read_text())
    assert page["ghost"]["name"] == "slow after 32 iterations"
    first, second = (np.array(x["frames"])[:, 1, 0].reshape(2, 5) for x in (page, page["ghost"]))
    start = first[:, :1]
    assert 0 < start[0, 0] != start[1, 0] > 0, "drawn anew for each episode"
    np.testing.assert_allclose(first, start + np.array([0, 0.8, 1.6, 2.4, 2.4]), atol=2e-4)
    np.testing.assert_allclose(second, start + np.array([0, 0.5, 1.0, 1.5, 2.0]), atol=2e-4)
    np.testing.assert_allclose(page["returns"], 2 * [0, 0.8, 1.6, 2.4, 2.4], atol=2e-4)
    np.testing.assert_allclose(page["ghost"]["returns"], 2 * [0, 0.5, 1, 1.5, 2], atol=2e-4)


def test_the_first_policy_plays_as_it_does_alone(tmp_path):
    """And a ghost as the first; the longer one is cut off after 1 s, two steps."""
    alone = record(pushing(0.8), tmp_path / "a.html", seconds=1)
    kept = scene((tmp_path / "a.html").read_text())
    (both,) = record(pushing(0.8), tmp_path / "b.html", seconds=1, ghost=pushing(0.8))
    assert (both._replace(ghost=None), both.ghost) == (alone[0], alone[0])
    assert alone == [(pytest.approx(1.6), 2, False, None)]
    page = scene((tmp_path / "b.html").read_text())
    assert kept.pop("ghost") is None
    ghost = page.pop("ghost")
    assert kept == page
    assert (ghost["frames"], ghost["returns"]) == (kept["frames"], kept["returns"])


def test_gymnasiums_environments_start_in_one_state_too(tmp_path):
    """Pushed as hard as can be, to the left and to the right."""
    name = "InvertedPendulum-v5"
    env = envs.make(name)
    left, right = (
        constant(make_policy(env, env=name, episode_length=None, seed=i), x)
        for i, x in enumerate((-100, 100))
    )
    (episode,) = record(left, tmp_path / "p.html", seconds=0.2, ghost=right)
    page = scene((tmp_path / "p.html").read_text())
    first, second = (np.array(x["frames"])[:, :, 0] for x in (page, page["ghost"]))
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[-1, 1:] < second[-1, 1:] - 0.01).any()
    assert page["returns"][-1] == pytest.approx(episode.episode_return, abs=1e-4)
    assert page["ghost"]["returns"][-1] == pytest.approx(episode.ghost.episode_return, abs=1e-4)


@pytest.mark.parametrize(
    ("ghost", "other", "line"),
    [
        ({"env": "ant"}, {}, "env = 'ant': the second run was trained with it, the first with 'pu"),
        ({"env_options": {"x": 1}}, {}, "env_options = {'x': 1}: the second run was trained with"),
        ({"backend": "spring"}, {}, "backend = 'spring': the second run was trained with it, the"),
        ({"env": "ant"}, {"backend": "spring"}, "env = 'ant': the second run was trained with it,"),
    ],
)
def test_another_environment_is_refused(tmp_path, ghost, other, line):
    second = pushing(0.5, **ghost)
    with pytest.raises(UsageError, match=re.escape(line)) as error:
        record(pushing(0.5), tmp_path / "p.html", ghost=second, **other)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_both_play_in_another_environment_of_their_sizes(tmp_path):
    second = pushing(0.5, env="ant", env_options={"x": 1})
    (episode,) = record(pushing(0.8), tmp_path / "p.html", ghost=second, env="pushed")
    assert (episode.length, episode.ghost.length) == (3, 4)


def test_the_command_takes_two_runs(capsys, tmp_path):
    for name in ("a", "b"):
        save_run(tmp_path / name, Pushed(), env="pushed", steps=(32, 64))
    out = tmp_path / "both.html"
    runs = tmp_path / "a", tmp_path / "b", "--step", "32"
    code, said, _ = cli.run(capsys, "record", *runs, "--seconds", "1", "--out", out)
    assert code == 0
    assert re.search(
        r"episode 1: return (\S+), cut off after 2 steps\ntranslucent: return \1, cut", said
    )
    text = out.read_text()
    assert "pushed after 32 iterations" in text
    assert scene(text)["ghost"]["name"] == "b after 64 iterations"
    save_run(tmp_path / "c", env="counter")
    runs = tmp_path / "a", tmp_path / "c"
    code, _, err = cli.run(capsys, "record", *runs, "--out", tmp_path / "no.html")
    assert (code, err.count("\n")) == (2, 1)
    assert "env = 'counter': the second run" in err
    assert not (tmp_path / "no.html").exists()


DRAW = """
import json, pathlib
from mjx_sac.policy import opengl
assert opengl.choose() is None
import imageio.v3
from test_ghost import Pushed, pushing
from mjx_sac import envs
from mjx_sac.policy.record import record

envs.register("pushed", Pushed)
record(pushing(0.9), pathlib.Path("p.mp4"), camera="side", seconds=0.5, ghost=pushing(-0.9))
frame = imageio.v3.imread("p.mp4", plugin="pyav")[-1].astype(float)
print(json.dumps((frame[..., 0] - frame[..., 1]).max(0).tolist()))
"""


def test_a_film_shows_it_translucent(tmp_path):
    """Of two red balls, 0.9 to the right and to the left, one is only as red as what covers black
    twice, with its front and its back: 1 - (1 - 0.45) ** 2 = 0.70 of the other.

    The picture is 3.31 wide (see `test_cameras_stand_still_or_follow`), a ball 0.6.
    """
    if all(map(opengl.problem, opengl.BACKENDS)):
        pytest.skip("no OpenGL here")
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    here = pathlib.Path(__file__)
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [here.parent, *here.parents[1:3]]))
    command = [sys.executable, "-c", DRAW]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    redness = np.array(json.loads(done.stdout))
    x = 3.31 * (np.arange(640) / 640 - 0.5) - 0.05  # the start is 0 to 0.1
    right, left = (redness[abs(x - place) < 0.3].max() for place in (0.9, -0.9))
    assert right > 100 > 10 > redness[abs(abs(x) - 0.9) > 0.4].max()
    assert left / right == pytest.approx(0.7, abs=0.07)
