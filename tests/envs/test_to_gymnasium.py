"""Our environments as Gymnasium's: its own checker, final observations, a VectorEnv's promises."""

import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from helpers.envs import Counter
from helpers.slider import Slider

from mjx_sac import envs
from mjx_sac.envs.registry import register_with_gymnasium


@pytest.fixture(scope="module", autouse=True)
def _register():
    envs.register("ends-at-3", lambda: Counter(ends_at=3))
    register_with_gymnasium(["counter", "ends-at-3"])


def test_gymnasium_makes_ours_without_an_import():
    code = """if True:
        import gymnasium
        env = gymnasium.make("mjx_sac.envs.to_gymnasium:mjx_sac/inverted_pendulum")
        print(env.observation_space.shape, env.spec.max_episode_steps)
    """
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "(4,) 1000\n"


# As Gymnasium's own MuJoCo environments have it.
@pytest.mark.filterwarnings("ignore:.*value is -?infinity")
@pytest.mark.parametrize(
    "name",
    [
        "counter",
        pytest.param("inverted_pendulum", marks=pytest.mark.slow),
        pytest.param("InvertedPendulum-v5", marks=pytest.mark.slow),  # ours on MJX
    ],
)
def test_gymnasiums_checker_has_nothing_to_say(name):
    register_with_gymnasium()
    env = gymnasium.make(f"mjx_sac/{name}")
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec.max_episode_steps == 1000


def test_an_image_shows_the_state(monkeypatch):
    drawn = []

    class Renderer:
        def __init__(self, model, height, width):
            self.size = height, width, 3

        def update_scene(self, data, camera):
            drawn.append((data.qpos.copy(), camera))

        def render(self):
            return np.zeros(self.size, np.uint8)

        def close(self):
            drawn.append("closed")

    monkeypatch.setattr(mujoco, "Renderer", Renderer)
    envs.register("drawn", Slider)
    register_with_gymnasium(["drawn"])
    env = gymnasium.make("mjx_sac/drawn", render_mode="rgb_array", width=64).unwrapped
    env.reset(seed=0)
    for action in (1.0, -1.0):
        env.step(np.full(1, action, np.float32))
        assert env.render().shape == (480, 64, 3)
    env.close()
    (first, camera), (second, _), end = drawn
    assert (camera, end) == (-1, "closed")
    assert [first, second] == [1.0, 2.0]


def vector(name="ends-at-3", num_envs=3, **kwargs):
    env = gymnasium.make_vec(f"mjx_sac/{name}", num_envs=num_envs, **kwargs)
    assert isinstance(env, VectorEnv)
    return env


def test_a_vector_env_keeps_the_final_observation():
    env = vector()
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    first, _ = env.reset(seed=1)
    assert env.observation_space.contains(first)
    assert first[:, 1].tolist() == [0, 0, 0]
    assert len(set(first[:, 0])) == 3, "no two start alike"
    for count in (1, 2, 3):
        observation, reward, terminated, truncated, infos = env.step(np.zeros((3, 1), np.float32))
        assert reward.tolist() == [count - 1] * 3
        assert terminated.all() == (count == 3)
        assert not truncated.any()
        assert ("final_obs" in infos) == (count == 3)
    assert infos["_final_obs"].all()
    assert [list(final) for final in infos["final_obs"]] == [[start, 3] for start in first[:, 0]]
    assert observation[:, 1].tolist() == [0, 0, 0]
    assert not set(observation[:, 0]) & set(first[:, 0]), "new episodes begin elsewhere"


def test_a_time_limit_is_a_truncation():
    env = vector("counter", 2, max_episode_steps=2)
    env.reset(seed=0)
    env.step(np.zeros((2, 1), np.float32))
    _, _, terminated, truncated, infos = env.step(np.zeros((2, 1), np.float32))
    assert truncated.all()
    assert not terminated.any()
    assert [o[1] for o in infos["final_obs"]] == [2, 2]


def test_the_shorter_of_both_time_limits_counts():
    class Short(Counter):
        time_limit = 2

    envs.register("short", Short)
    register_with_gymnasium(["short"])
    env, action = gymnasium.make("mjx_sac/short"), np.zeros(1, np.float32)
    for _ in range(2):  # episodes
        env.reset(seed=0)
        assert [env.step(action)[2:4] for _ in range(2)] == [(False, False), (False, True)]
    for asked, limit in ((1, 1), (1000, 2)):
        several = vector("short", 2, max_episode_steps=asked)
        several.reset(seed=0)
        cut = [several.step(np.zeros((2, 1), np.float32))[3].all() for _ in range(limit)]
        assert cut == [False] * (limit - 1) + [True]


def test_a_seed_decides_everything():
    runs = []
    for _ in range(2):
        env = vector()
        rows = [env.reset(seed=7)[0]]
        rows += [env.step(np.zeros((3, 1), np.float32))[0] for _ in range(7)]
        runs.append(np.stack(rows))
    np.testing.assert_array_equal(*runs)
    assert not np.array_equal(runs[0], vector().reset(seed=8)[0])


def test_initial_states_are_fresh_however_many_episodes_end():
    env = vector("ends-at-3", 100)
    starts = [env.reset(seed=0)[0][:, 0]]
    for step in range(1, 10):
        observation, *_ = env.step(np.zeros((100, 1), np.float32))
        if step % 3 == 0:
            starts.append(observation[:, 0])
    assert len(np.unique(np.concatenate(starts))) == 400


def test_gymnasiums_vector_wrappers_work():
    env = RecordEpisodeStatistics(vector())
    env.reset(seed=0)
    for _ in range(3):
        *_, infos = env.step(np.zeros((3, 1), np.float32))
    assert infos["episode"]["r"].tolist() == [0 + 1 + 2] * 3
    assert infos["episode"]["l"].tolist() == [3] * 3
