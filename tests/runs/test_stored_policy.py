"""The policy part of a checkpoint, found and one agent chosen."""

import shutil

import pytest
from helpers.runs import make_config, save_best, save_run

from mjx_sac.config import UsageError
from mjx_sac.runs.directory import best_path, checkpoint_path
from mjx_sac.runs.stored_policy import StoredPolicy, choose_agent, find


def test_the_newest_or_the_one_asked_for(tmp_path):
    save_run(tmp_path, steps=(32, 64), tau=0.5)
    assert find(tmp_path).iterations() == 64
    stored = find(str(tmp_path), 32)
    assert (stored.iterations(), stored.step, stored.config.tau) == (32, 32, 0.5)
    assert stored.path == checkpoint_path(tmp_path, 32) / "policy"


def test_the_state_is_not_needed(tmp_path):
    save_run(tmp_path)
    shutil.rmtree(checkpoint_path(tmp_path, 32) / "state")
    assert find(tmp_path).iterations() == 32


def test_what_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no such directory"):
        find(tmp_path / "none")
    with pytest.raises(UsageError, match="no checkpoint there"):
        find(tmp_path)
    save_run(tmp_path, steps=(32, 64))
    with pytest.raises(UsageError, match=r"step = 48: no such checkpoint .* there are 32, 64"):
        find(tmp_path, 48)
    (checkpoint_path(tmp_path, 64) / "policy" / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"cannot be read .* choose another --step \(32\)"):
        find(tmp_path)


def test_the_best_by_evaluation_each_agents_own(tmp_path):
    save_run(tmp_path, num_seeds=3)
    save_best(tmp_path, [96, 0, 64], [2.0, None, 5.0])
    found = find(tmp_path, "best")
    assert (found.path, found.step) == (best_path(tmp_path), "best")
    assert [found.iterations(i) for i in (None, 0, 2)] == [96, 96, 64]
    config, index = choose_agent(found)
    assert (config.seed, index) == (2, 2)
    with pytest.raises(UsageError, match="seed_index = 1: no evaluation of this agent was kept"):
        choose_agent(found, 1)


def test_a_best_that_is_not_there_or_damaged_is_one_line(tmp_path):
    save_run(tmp_path, steps=(32, 64))
    with pytest.raises(UsageError, match=r"step = 'best': .* no evaluation; there are 32, 64"):
        find(tmp_path, "best")
    save_best(tmp_path, 64, [2.0])
    (best_path(tmp_path) / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"cannot be read .* choose another --step \(32, 64\)"):
        find(tmp_path, "best")
    assert find(tmp_path).iterations() == 64, "who does not ask for it is not troubled"


def stored(returns, tmp_path, **overrides):
    config = make_config(**overrides)
    path = checkpoint_path(tmp_path, 32) / "policy"
    return StoredPolicy(config, tmp_path, path, {"iterations": 32, "returns": returns})


def test_the_best_agent_or_the_one_asked_for(tmp_path):
    three = stored([1.0, 3.0, None], tmp_path, num_seeds=3, seed=5)
    config, index = choose_agent(three)
    assert (config.seed, config.num_seeds, index) == (6, 1, 1)
    assert choose_agent(three, 2)[0].seed == 7
    assert choose_agent(stored(None, tmp_path, num_seeds=3))[1] == 0
    with pytest.raises(UsageError, match="holds 3 agents, 0 to 2"):
        choose_agent(three, 3)


def test_a_single_agent_has_no_index(tmp_path):
    one = stored([1.0], tmp_path)
    assert choose_agent(one) == (one.config, None)
    with pytest.raises(UsageError, match="holds one agent"):
        choose_agent(one, 1)
