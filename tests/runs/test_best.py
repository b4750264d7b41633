"""The best policy by evaluation: what is better replaces it, agent by agent, and nothing else."""

import pathlib

import numpy as np
import pytest
from helpers.runs import make_config

from mjx_sac.runs import array_store
from mjx_sac.runs.best import Best
from mjx_sac.runs.directory import best_path, clear
from mjx_sac.runs.resolve import Run

NAN = float("nan")


def make_best(directory, warnings=None, latest=None, **config):
    config = make_config(logdir=str(directory), **config)
    warn = pytest.fail if warnings is None else warnings.append
    return Best(Run(config, directory, latest), {"config": {}}, warn)


def offer(best, iterations, *returns):
    """Offer a policy whose parameters are `iterations`, of several agents each its own."""
    shape = (len(returns), 3) if len(returns) > 1 else (3,)
    best.offer(iterations, np.array(returns), lambda: {"a": np.full(shape, float(iterations))})


def stored(directory):
    """Return iterations, returns and each agent's parameter of what lies on disk."""
    path = best_path(directory)
    body = array_store.verify(path)
    parameters = dict(array_store.read(path))["a"][..., 0].tolist()
    return body["iterations"], body["returns"], parameters


def test_only_what_is_better_and_finite_replaces_it(tmp_path):
    best = make_best(tmp_path)
    offer(best, 32, NAN)
    assert not best_path(tmp_path).exists()
    for iterations, value in ((64, 2.0), (96, 2.0), (128, NAN), (160, float("inf")), (192, 1.0)):
        offer(best, iterations, value)
        assert stored(tmp_path) == (64, [2.0], 64.0)
    offer(best, 224, 3.0)
    assert stored(tmp_path) == (224, [3.0], 224.0)


def test_each_agent_has_its_own(tmp_path):
    best = make_best(tmp_path, num_seeds=3)
    offer(best, 64, 1.0, 5.0, NAN)
    offer(best, 96, 2.0, 4.0, NAN)
    assert stored(tmp_path) == ([96, 64, 0], [2.0, 5.0, None], [96.0, 64.0, 64.0])


def test_a_resumed_run_knows_it(tmp_path):
    offer(make_best(tmp_path, num_seeds=2), 64, 1.0, 5.0)
    again = make_best(tmp_path, latest=32, num_seeds=2)
    offer(again, 64, 1.0, 5.0)  # the same evaluation again
    offer(again, 96, 2.0, 4.0)
    assert stored(tmp_path) == ([96, 64], [2.0, 5.0], [96.0, 64.0])


def test_another_runs_is_removed_and_a_restart_clears_it(tmp_path):
    offer(make_best(tmp_path), 64, 5.0)
    offer(make_best(tmp_path), 32, 1.0)  # no checkpoint was left to resume from
    assert stored(tmp_path) == (32, [1.0], 32.0)
    clear(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["manifest", "arrays"])
def test_a_damaged_one_is_said_and_replaced(tmp_path, part):
    offer(make_best(tmp_path), 64, 5.0)
    path = best_path(tmp_path)
    name = "manifest.json" if part == "manifest" else array_store.manifest(path)["packed"]
    (path / name).write_bytes(b"{")
    warnings = []
    best = make_best(tmp_path, warnings, latest=64)
    assert len(warnings) == 1
    assert "the next evaluation counts as the best" in warnings[0]
    offer(best, 96, 1.0)
    assert stored(tmp_path) == (96, [1.0], 96.0)


@pytest.mark.parametrize("moves", [0, 1])
def test_a_kill_leaves_the_old_one_or_the_new_one(tmp_path, monkeypatch, moves):
    """It takes two moves: the arrays, then the manifest."""
    best = make_best(tmp_path)
    offer(best, 64, 5.0)
    replace, left = pathlib.Path.replace, [None] * moves

    def killed(source, target):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return replace(source, target)

    monkeypatch.setattr(pathlib.Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        offer(best, 96, 6.0)
    monkeypatch.undo()
    assert stored(tmp_path) == (64, [5.0], 64.0)
    offer(make_best(tmp_path, latest=64), 96, 6.0)
    assert stored(tmp_path) == (96, [6.0], 96.0)
    assert [path.name for path in best_path(tmp_path).parent.iterdir()] == ["policy"]


def test_what_cannot_be_written_is_a_warning(tmp_path):
    warnings = []
    best = make_best(tmp_path / "run", warnings)
    (tmp_path / "run").write_text("a file")
    offer(best, 64, 5.0)
    assert len(warnings) == 1
    assert "the best policy so far cannot be written (Not a directory)" in warnings[0]
