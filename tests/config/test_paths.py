"""The current directory: what stays when it changes."""

import os
import sys

import pytest

from mjx_sac.config import UsageError, absolute, import_from_here, staying


def test_paths_are_made_absolute_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("runs/ant") == tmp_path / "runs" / "ant"
    assert str(absolute("~/runs")) == "/home/me/runs"
    assert str(absolute("/a/../b")) == "/a/../b", "which a link may make another than /b"


def test_one_returns_even_where_the_directory_was_renamed(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")

    @staying()
    def leave():
        os.chdir("/")
        (tmp_path / "a").rename(tmp_path / "b")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert os.getcwd() == str(tmp_path / "b")


def test_modules_are_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    import_from_here()
    import_from_here()
    assert sys.path.count(str(tmp_path)) == 1
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    import_from_here()
    with pytest.raises(UsageError, match="'runs/ant': the current directory has been deleted"):
        absolute("runs/ant")
