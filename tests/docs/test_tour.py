"""The notebook docs/tour.ipynb: its cells run, and what they showed is kept in it."""

import os
import pathlib
import sys

import nbclient
import nbformat
import pytest

from mjx_sac.policy import opengl

TOUR = pathlib.Path(__file__).parents[2] / "docs" / "tour.ipynb"


@pytest.fixture
def tour():
    return nbformat.read(TOUR, nbformat.NO_CONVERT)


def outputs(notebook):
    return [each for cell in notebook.cells for each in cell.get("outputs", [])]


def test_what_its_cells_showed_is_kept(tour):
    nbformat.validate(tour)
    counts = [cell.execution_count for cell in tour.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert "error" not in {each.output_type for each in outputs(tour)}
    kinds = [kind for each in outputs(tour) for kind in each.get("data", {}) if "image" in kind]
    assert kinds == ["image/png", "image/png", "image/gif"]
    assert TOUR.stat().st_size < 2**19


@pytest.mark.slow
def test_its_cells_run(tour, tmp_path):
    for cell in tour.cells:
        cell.source = cell.source.replace("20_000", "2_000")
        if "pendulum.gif" in cell.source and all(map(opengl.problem, opengl.BACKENDS)):
            cell.source = ""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    where = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(tour, timeout=300, kernel_name="python3", resources=where)
    client.execute(env={**os.environ, "PATH": path})
    assert {"tour", "tour_mean"} == set(os.listdir(tmp_path / "runs"))
    shown = [each.data["text/plain"] for each in outputs(tour) if "data" in each]
    assert any("critics_differ_mean" in text for text in shown)
    assert any("mean return of 20 episodes" in text for text in shown)
