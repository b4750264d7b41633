"""Where a run comes from."""

import hashlib
import importlib.metadata
import re
import shlex

import pytest
from helpers.cli import run
from helpers.runs import make_config

from mjx_sac.config import Config
from mjx_sac.runs import config_files, provenance, warm_start
from mjx_sac.training.host import train


def test_versions_commit_and_configuration():
    described = provenance.description(Config(tau=0.5))
    assert described["config"]["tau"] == 0.5
    assert described["versions"]["numpy"] == importlib.metadata.version("numpy")
    commit = described["git_commit"]
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)
    assert "algorithm_sha256" not in described


def test_an_algorithms_file_is_identified(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from mjx_sac.losses import Losses\n\nlosses = Losses()\n")
    described = provenance.description(Config(algorithm=str(path)))
    assert described["algorithm_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_package_that_is_not_installed_has_no_version():
    assert provenance.version("not_installed") is None


@pytest.mark.parametrize(
    "own",
    [
        {"seed": 3, "normalize_observations": False, "track": "wandb", "target_entropy": -2.0},
        {"env_options": {"a": 1, "b.c": "it's 2"}, "algorithm": "csac", "target_std": None},
        {"members": ({"tau": 0.1}, {"tau": 0.2}), "num_devices": 2, "from_run": "a b"},
    ],
)
def test_the_command_trains_what_the_run_was(own, monkeypatch, capsys):
    """Also where a file that is packaged for the environment says otherwise."""
    trained = []
    monkeypatch.setattr(train, "train", lambda run, **_: trained.append(run.config))
    monkeypatch.setattr(warm_start, "check", lambda config: None)
    monkeypatch.setattr(config_files, "packaged", lambda *_: {"tau": 0.5, "seed": 1})
    config = make_config(env="ant", logdir="x", schedule_iterations=99, **own)
    words = provenance.command(config)
    assert words.startswith("mjx-sac train --env ant --algorithm ")
    run(capsys, *shlex.split(words)[1:])
    left_out = {"logdir": None, "track": None, "num_devices": None}
    assert trained == [config.model_copy(update=left_out)]
