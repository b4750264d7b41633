"""`mjx-sac algorithms`: what can be trained with."""

import json

from helpers.cli import run, run_in_new_process

from mjx_sac.algorithms import PACKAGED


def test_the_list_needs_no_jax():
    code, out, heavy = run_in_new_process("algorithms")
    assert (code, heavy) == (0, [])
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:3] == ["algorithm", "update", "paper"]
    assert [row[0] for row in rows[1 : 1 + len(PACKAGED)]] == [*PACKAGED]
    assert rows[1][:6] == ["sac", "1", "Haarnoja", "et", "al.,", "2018,"]


def test_one_with_its_defaults_and_flags(capsys):
    code, out, _ = run(capsys, "algorithms", "td3")
    assert code == 0
    assert "--policy_delay 2   (SAC's 1)" in out
    assert "--target_noise 0.2" in out
    (found,) = json.loads(run(capsys, "algorithms", "td3", "--json")[1])
    assert found["other_defaults"] == {"target_delay": 2, "policy_delay": 2}
    assert found["papers"][0].endswith("arXiv:1802.09477.")


def test_an_unknown_one_gets_the_nearest(capsys):
    code, _, err = run(capsys, "algorithms", "redg")
    assert code == 2
    assert "name = 'redg': no packaged algorithm; did you mean redq?" in err
