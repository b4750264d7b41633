"""Errors that reach the user as one line."""

import sys

import pytest

from mjx_sac.config import UsageError, nearest, require


def test_the_nearest_name_is_offered():
    assert nearest("atn", ["ant", "hopper"]) == "; did you mean ant?"
    assert nearest("qqqq", ["ant", "hopper"]) == ""


def test_a_missing_extra_is_named(monkeypatch):
    require(["json", "numpy"], "plot", "out = 'a.png'")
    monkeypatch.setitem(sys.modules, "numpy", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"out = 'a\.png': needs numpy: .*--extra plot"):
        require(["json", "numpy"], "plot", "out = 'a.png'")


def test_a_directory_is_no_package(monkeypatch, tmp_path):
    """Such as the one that W&B leaves where it ran."""
    (tmp_path / "not_installed").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="needs not_installed"):
        require(["not_installed"], "wandb", "track = 'wandb'")
