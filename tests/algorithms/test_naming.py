"""Names of algorithms: older ones, unknown ones, and what does not belong to one that is named."""

import pathlib

import pytest
from helpers.cli import run
from helpers.runs import save_run

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import UsageError
from mjx_sac.policy.policy import load_policy
from mjx_sac.runs import provenance
from mjx_sac.runs.resolve import attach, resolve

PLAIN = "import mjx_sac\n\nlosses = mjx_sac.Losses()\n"


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_that_says_losses_is_used_and_resumes(directory, capsys, monkeypatch):
    """As older versions wrote it, which also had no schedule."""
    pathlib.Path("mine.py").write_text(PLAIN)
    described = provenance.description

    def older(config):
        found = described(config)
        found["losses_sha256"] = found.pop("algorithm_sha256")
        found["config"]["losses"] = found["config"].pop("algorithm")
        del found["config"]["schedule_iterations"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(provenance, "description", older)
        save_run(directory / "run", algorithm="mine.py")
    assert load_policy("run").config.algorithm == "mine.py"
    assert run(capsys, "export", "run")[0] == 0
    assert "algorithm = mine.py   (default sac)" in run(capsys, "info", "run")[1]
    resumed = attach(resolve({"logdir": "run", "env": "counter", "iterations": 256}))
    assert (resumed.config.algorithm, resumed.config.schedule_iterations) == ("mine.py", 128)
    assert (resumed.changed, resumed.edited) == ({"iterations": (128, 256)}, False)
    pathlib.Path("mine.py").write_text(f"{PLAIN}# a thought\n")
    assert "the file that run was trained with" in run(capsys, "export", "run")[2]
    assert run(capsys, "export", "run", "--edited_losses")[0] == 0


def test_losses_is_an_older_flag(directory, capsys):
    assert "--target_noise" in run(capsys, "train", "--losses=td3", "--help")[1]
    code, _, err = run(capsys, "train", "--losses=td3", "--algorithm=sac")
    assert (code, err.count("\n")) == (2, 1)
    assert "losses = 'td3': an older name of algorithm, which is 'sac'" in err
    assert resolve({"losses": "td3", "logdir": "new"}).algorithm == "td3"
    pathlib.Path("old.toml").write_text('losses = "redq"\n')
    given = {"logdir": "new"}
    assert resolve(given, config_file="old.toml").algorithm == "redq"
    assert resolve({**given, "losses": "auto"}, config_file="old.toml").algorithm == "sac"


def test_an_unknown_algorithm_gets_the_nearest(directory, capsys):
    code, _, err = run(capsys, "train", "--algorithm=flashsca")
    assert (code, err.count("\n")) == (2, 1)
    assert "algorithm = 'flashsca': no such algorithm or file: did you mean flashsac?" in err
    assert f"there are {', '.join(PACKAGED)}; or name a file" in err


def test_what_an_algorithm_does_not_read_is_refused(directory, capsys):
    code, _, err = run(capsys, "train", "--algorithm=flashsac", "--hidden_sizes=64,64")
    assert (code, err.count("\n")) == (2, 1)
    assert "hidden_sizes = (64, 64): algorithm 'flashsac' does not read it" in err
    assert "actor_width, critic_width" in err
    code, _, err = run(capsys, "train", "--actor_width=64")
    assert (code, err.count("\n")) == (2, 1)
    assert "--actor_width: no flag of this algorithm, but of flashsac" in err
    with pytest.raises(UsageError, match="actor_width: no hyperparameter of algorithm 'td3'"):
        resolve({"algorithm": "td3", "actor_width": 64})
