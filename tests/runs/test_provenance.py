"""Where a run comes from."""

import hashlib
import importlib.metadata
import re

from mjx_sac.config import Config
from mjx_sac.runs import provenance


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
