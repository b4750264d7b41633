"""`mjx-sac demo`: what comes with the package plays, and says how it was trained."""

import webbrowser

import pytest
from helpers.cli import run

from mjx_sac.cli import demo
from mjx_sac.runs import stored_policy

RUNS = sorted(demo._DEMOS.iterdir())


@pytest.fixture
def opened(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pages = []
    monkeypatch.setattr(webbrowser, "open", pages.append)
    return pages


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_each_plays_as_well_as_it_was_evaluated(path, opened, capsys, tmp_path):
    code, out, _ = run(capsys, "demo", path.name, "--seconds", "50")
    assert code == 0
    page = tmp_path / f"{path.name}.html"
    assert opened == [page.as_uri()]
    assert page.stat().st_size > 100_000, "a page with a model in it"
    evaluated = stored_policy.find(path, edited_algorithm=True).manifest["returns"][0]
    played = float(out.partition("return ")[2].partition(",  ")[0].split(", ")[0].replace(",", ""))
    assert played > 0.7 * evaluated


def test_all_are_small_and_name_no_place_where_they_were_trained():
    assert sum(file.stat().st_size for path in RUNS for file in path.rglob("*")) < 1_000_000
    for path in RUNS:
        config = stored_policy.find(path, edited_algorithm=True).config
        assert not str(config.logdir or "").startswith("/")


def test_no_page_is_opened_unless_it_is_wanted(opened, capsys):
    assert run(capsys, "demo", "--no-open", "--seconds", "0.2", "--out", "a.html")[0] == 0
    assert opened == []


def test_another_name_is_one_line(capsys):
    code, _, err = run(capsys, "demo", "walrus")
    assert (code, err.count("\n")) == (2, 1)
    assert "name = 'walrus': no such demo: there is ant, halfcheetah" in err
