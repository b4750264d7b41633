"""The list of environments: which are in it, and what it says of each."""

import mujoco
from helpers.envs import Counter

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import catalog


def rows(search):
    return {row.env: row for row in catalog.rows(search)}


def test_a_search_finds_names_whatever_their_case():
    envs.register("Listed-Counter", Counter)
    engine = "registered here"
    assert catalog.rows("listed-C") == [catalog.Row("Listed-Counter", engine, 2, 1)]


def test_the_newest_trainable_version_is_listed():
    pendulums = rows("pendulum")
    assert pendulums["Pendulum-v1"][2:] == (3, 1, "")
    assert pendulums["InvertedPendulum-v5"].engine == "MuJoCo (Gymnasium), on the host"
    assert "InvertedPendulum-v4" not in pendulums
    assert rows("CartPole") == {}, "discrete actions"


def test_what_takes_long_to_build_is_listed_without_sizes(monkeypatch):
    monkeypatch.setattr(catalog, "FEW", 0)
    ant = rows("ant")["ant"]
    assert (ant.observation_size, ant.action_size, ant.missing) == (None, None, "")


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
