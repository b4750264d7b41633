"""`mjx-sac envs`: what can be trained on, with sizes where they are cheap."""

import json
import sys

from helpers.cli import run

from mjx_sac import envs


def test_all_that_can_be_trained_on_is_listed(capsys):
    rows = {row["env"]: row for row in json.loads(run(capsys, "envs", "--json")[1])}
    sizes = {name: (row["observation_size"], row["action_size"]) for name, row in rows.items()}
    assert sizes["Pendulum-v1"] == (3, 1)
    assert sizes["Ant-v5"] == (105, 8)
    assert sizes["ant"] == (None, None), "some seconds each"
    assert "counter" in rows
    assert not {"CartPole-v1", "Ant-v4", "fast", "swimmer"} & rows.keys(), "they do not train"
    for name in rows:
        if not name.startswith("playground/"):
            envs.check(name)


def test_a_search_shows_sizes_and_what_is_missing(capsys, monkeypatch):
    code, out, _ = run(capsys, "envs", "--search", "COUNTER")
    assert code == 0
    head, row, *_ = out.splitlines()
    assert head.split()[:3] == ["env", "observation", "action"]
    assert "randomizer" not in head, "nothing to say of these"
    assert row.split()[:3] == ["counter", "2", "1"]
    pendulum = json.loads(run(capsys, "envs", "--search", "Pendulum-v1", "--json")[1])
    assert {row["env"]: row["time_limit"] for row in pendulum}["Pendulum-v1"] == 200
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)  # as if it were not installed
    assert "mjx-sac[playground]" in run(capsys, "envs", "--search", "playground")[1]


def test_a_search_without_a_match_is_refused(capsys):
    code, _, err = run(capsys, "envs", "--search", "nonsense")
    assert code == 2
    assert "no environment's name contains it" in err


def test_what_an_environment_needs_is_named(capsys):
    (row,) = json.loads(run(capsys, "envs", "--search", "lunarlander-v3", "--json")[1])
    assert "Box2D is not installed" in row["missing"]
