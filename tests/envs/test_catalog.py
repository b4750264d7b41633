"""The list of environments: which are in it, and what it says of each."""

import mujoco
import pytest
from helpers.envs import Asymmetric, Counter

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import catalog
from mjx_sac.envs.playground import MENAGERIE

AT_FIRST_USE = "MuJoCo Menagerie, at its first use"


def rows(search):
    return {row.env: row for row in catalog.rows(search)}


def test_a_search_finds_names_whatever_their_case():
    envs.register("Listed-Counter", Counter)
    engine = "registered here"
    assert catalog.rows("listed-C") == [catalog.Row("Listed-Counter", engine, 2, 1)]


def test_the_newest_trainable_version_is_listed():
    pendulums = rows("pendulum-v")
    assert pendulums["Pendulum-v1"][2:] == (3, 1, 200, None, False, "")
    assert pendulums["InvertedPendulum-v5"].engine == "MuJoCo (Gymnasium), on the host"
    assert "InvertedPendulum-v4" not in pendulums
    assert rows("CartPole-v") == {}, "discrete actions"


def test_what_takes_long_to_build_is_listed_without_sizes(monkeypatch):
    monkeypatch.setattr(catalog, "FEW", 0)
    ant = rows("ant")["ant"]
    assert (ant.observation_size, ant.action_size, ant.missing) == (None, None, "")


def test_playgrounds_robots_say_what_is_missing(monkeypatch, tmp_path):
    """Only what is quickly known, but for the few that one asks for."""
    pytest.importorskip("mujoco_playground")
    monkeypatch.setenv(MENAGERIE, str(tmp_path / "none"))
    assert rows("playground/Op3")["playground/Op3Joystick"].missing == AT_FIRST_USE
    for robot in ("unitree_g1", "robotiq_2f85_v4"):
        (tmp_path / robot).mkdir()
    monkeypatch.setenv(MENAGERIE, str(tmp_path))
    found = rows("playground/")
    assert len(found) == 54
    flat, getup = found["playground/G1JoystickFlatTerrain"], found["playground/Go1Getup"]
    assert (flat.missing, flat.time_limit, flat.randomizer) == ("", 1000, True)
    assert (getup.missing, getup.time_limit) == ("unitree_go1 of MuJoCo Menagerie", 300)
    assert found["playground/PandaRobotiqPushCube"].missing == ""
    assert found["playground/PandaPickCube"].missing == "franka_emika_panda of MuJoCo Menagerie"
    walker = found["playground/WalkerRun"]
    assert walker[2:] == (None, None, 1000, None, False, "")
    assert rows("playground/WalkerRun")["playground/WalkerRun"][2:4] == (24, 6)


def test_parts_of_an_observation_are_listed_with_their_sizes():
    envs.register("listed-asymmetric", Asymmetric)
    (row,) = catalog.rows("listed-asymmetric")
    assert row.views == {"privileged_state": 3, "spare.a": 2, "spare.b": 2, "state": 2}
    assert (row.observation_size, row.time_limit) == (3, 5), "state lies in privileged_state"


def test_brax_environments_that_do_not_train_are_left_out():
    assert "fast" not in rows("fast")
    assert "swimmer" not in rows("swimmer")


def test_one_that_cannot_be_made_hides_no_other():
    def broken():
        raise UsageError("env = 'listed-broken': no files of its robot in /robots: put them there")

    envs.register("listed-broken", broken)
    envs.register("listed-whole", Counter)
    found = rows("listed-")
    assert found["listed-broken"].missing == "no files of its robot in /robots: put them there"
    assert found["listed-whole"].observation_size == 2


def test_what_cannot_be_made_says_why():
    before = mujoco.get_mju_user_warning()
    assert "Box2D is not installed" in rows("lunarlander-v3")["LunarLander-v3"].missing
    assert mujoco.get_mju_user_warning() == before  # silenced meanwhile
