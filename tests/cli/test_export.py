"""`mjx-sac export`: the file, how to use it, and what is missing for it."""

import re
import sys

from helpers.cli import run


def test_export_writes_the_file_and_says_how_to_use_it(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "export", saved)
    assert code == 0
    assert re.match(r"policy\.npz: \d+ kB, counter at 32 iterations; .* within \d", out)
    assert "load('policy.npz')(observation)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["policy.npz"]


def test_export_names_the_extra_that_is_missing(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    code, _, err = run(capsys, "export", saved, "--format", "onnx")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "--extra onnx" in err
