"""Commands leave everything where the user stands, whatever an environment does to that."""

import json
import os

import pytest
from helpers.cli import run
from helpers.runs import flags

from mjx_sac.runs import event_files
from mjx_sac.runs.directory import steps

WANDERING = """
import os

from helpers.gymnasium_envs import Walk


class Wandering(Walk):
    def __init__(self):
        super().__init__(cut_at=5)
        os.chdir(os.environ["ELSEWHERE"])

    def step(self, action):
        os.chdir(os.path.join(os.environ["ELSEWHERE"], "deeper"))
        return super().step(action)
"""
LOSSES = "import mjx_sac\n\nlosses = mjx_sac.Losses()\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the user stands; `elsewhere` is beside it."""
    (tmp_path / "elsewhere" / "deeper").mkdir(parents=True)
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    (directory / "wandering.py").write_text(WANDERING)
    (directory / "mine.py").write_text(LOSSES)
    (directory / "mine.toml").write_text("tau = 0.25\n")
    return directory


def test_an_environment_that_changes_the_directory_moves_nothing(here, capsys):
    """A run, resumed, used: every path is relative, as the environment's and the losses' are."""
    how = {
        "env": "wandering:Wandering",
        "algorithm": "mine.py",
        "logdir": "run",
        "config": "mine.toml",
    }
    commands = [
        ("train", *flags(**how, iterations=64)),
        ("train", *flags(**how, iterations=96)),
        ("eval", "run", "--episodes", "2"),
        ("export", "run", "--out", "policy.npz"),
        ("plot", "run", "--out", "curves.csv"),
    ]
    before = {path.name for path in here.iterdir()}
    for command in commands:
        if "--iterations=96" in command:
            (here / "mine.py").write_text(f"{LOSSES}# another part of the run\n")
        code, out, err = run(capsys, *command)
        assert code == 0, err
        assert os.getcwd() == str(here)
        if "--iterations=96" in command:
            assert "resuming run at 64 iterations" in out
    assert [path.name for path in (here.parent / "elsewhere").rglob("*")] == ["deeper"]
    made = {path.name for path in here.iterdir()} - before - {"__pycache__"}
    assert made == {"run", "policy.npz", "curves.csv"}
    assert steps(here / "run") == [32, 64, 96]
    assert {path.name for path in (here / "run").glob("[!e]*")} >= {"best", "kwargs.json"}
    assert list(event_files.read(here / "run")["time/fps"]) == [32, 64, 96]
    stored = json.loads((here / "run" / "kwargs.json").read_text())
    assert [part["iterations"] for part in stored["history"]] == [0, 64]
    config = stored["config"]
    assert (config["logdir"], config["algorithm"], config["tau"]) == ("run", "mine.py", 0.25)
