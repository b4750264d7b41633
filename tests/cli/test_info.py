"""`mjx-sac info`: what it prints of a run."""

import json
import re

from helpers.cli import run, run_in_new_process
from helpers.runs import save_best, save_logged_run, save_run


def test_progress_returns_checkpoints_and_configuration(capsys, tmp_path):
    save_logged_run(tmp_path)
    code, out, _ = run(capsys, "info", tmp_path)
    assert code == 0
    assert "96 of 96 iterations saved, 96 logged, 9 iterations/s" in out
    assert "12.0 at 64   10.0 at 96   (best 12.0 at 64)   eval/mean_reward" in out
    checkpoints = re.findall(r"^(?:checkpoints | {12})\s*(\d+)   \d", out, flags=re.MULTILINE)
    assert checkpoints == ["32", "64", "96"]
    assert "hidden_sizes = 8   (default 256,256)" in out
    assert "tau" not in out, "it has its default"
    assert "jax " in out


def test_earlier_parts_are_shown(capsys, tmp_path):
    save_logged_run(tmp_path)
    path = tmp_path / "kwargs.json"
    stored = json.loads(path.read_text())
    before = {"iterations": 0, "git_commit": "abc", "versions": {**stored["versions"], "jax": "0"}}
    path.write_text(json.dumps({**stored, "history": [before, *stored["history"]]}))
    out = run(capsys, "info", tmp_path)[1]
    assert "from 0 iterations: git commit abc, jax 0\n" in out


def test_the_best_of_each_agent_is_shown(capsys, tmp_path):
    save_run(tmp_path, num_seeds=3)
    save_best(tmp_path, [64, 0, 32], [2.0, None, 1500.0])
    out = run(capsys, "info", tmp_path)[1]
    assert "1,500.0 at 32   2.0 at 64   --step best" in out
    (tmp_path / "best" / "policy" / "manifest.json").unlink()
    assert "manifest.json cannot be read" in run(capsys, "info", tmp_path)[1]


def test_json_comes_without_importing_jax(saved):
    code, out, heavy = run_in_new_process("info", saved, "--json")
    assert (code, heavy) == (0, [])
    assert json.loads(out)["iterations"] == {"saved": 32, "logged": 0, "total": 128}


def test_a_directory_that_does_not_exist_is_named(capsys):
    code, _, err = run(capsys, "info", "none")
    assert code == 2
    assert "run = 'none': no such directory" in err
