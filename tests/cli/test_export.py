"""`mjx-sac export`: the file, how to use it, and what is missing for it."""

import re
import sys

from helpers.cli import run
from helpers.runs import save_best, save_run


def test_export_writes_the_file_and_says_how_to_use_it(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "export", saved)
    assert code == 0
    assert re.match(r"policy\.npz: \d+ kB, counter at 32 iterations; .* within \d", out)
    assert "load('policy.npz')(observation)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["policy.npz"]


def test_the_best_by_evaluation_or_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    save_run(tmp_path / "run")
    code, _, err = run(capsys, "export", "run", "--step", "best")
    assert code == 2
    assert "run has kept no evaluation; there are 32" in err
    save_best(tmp_path / "run", 24, [7.0])
    code, out, _ = run(capsys, "export", "run", "--step", "best")
    assert code == 0
    assert "counter at 24 iterations" in out
    code, _, err = run(capsys, "export", "run", "--step", "bets")
    assert code == 2
    assert "step = 'bets': give iterations of a checkpoint, or best" in err


def test_export_names_the_extra_that_is_missing(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    code, _, err = run(capsys, "export", saved, "--format", "onnx")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "--extra onnx" in err
