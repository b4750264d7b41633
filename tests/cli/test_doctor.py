"""`doctor` and `envs`: what is said of a machine, and of environments."""

import importlib.metadata
import json
import os
import subprocess

import pytest
from helpers.cli import run

from mjx_sac import envs
from mjx_sac.cli import doctor_facts
from mjx_sac.envs import catalog
from mjx_sac.policy import opengl

WELL = {
    "versions": {"mujoco": "3.17.0", "mujoco-mjx": "3.17.0"},
    "unmet": [],
    "device_error": None,
    "platform": "cpu",
    "devices": ["cpu"],
    "memory_free": 8e9,
    "nvidia_gpu": None,
    "cuda_plugins": [],
    "gl": {"egl": None, "osmesa": "no library"},
    "gl_chosen": None,
    "cache": {"directory": "/cache", "bytes": 0, "writable": True},
    "disk_free": 1e12,
}


def test_a_machine_that_is_well_has_no_problems():
    assert doctor_facts.problems(WELL) == []
    assert [note.partition(":")[0] for note in doctor_facts.notes(WELL)] == ["env = 'swimmer'"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"unmet": [("mjx-sac", "mujoco==3.17.*", "4.0.0")]},
            "installed is 4.0.0: pip install 'mujoco==3.17.*'",
        ),
        (
            {"versions": {"mujoco": "3.17.1", "mujoco-mjx": "3.17.0"}},
            "pip install 'mujoco==3.17.0'",
        ),
        ({"device_error": "no backend", "platform": None}, "(no backend): unset JAX_PLATFORMS"),
        (
            {"nvidia_gpu": "H100"},
            "H100 is not used: JAX is installed for CPUs alone: uv run --extra cuda12",
        ),
        ({"nvidia_gpu": "H100", "cuda_plugins": ["jax_cuda12_plugin"]}, "look at JAX_PLATFORMS"),
        ({"cuda_plugins": ["jax_cuda12_plugin", "jax_cuda13_plugin"]}, "keep one of the extras"),
        (
            {"gl": {"glfw": "no display", "egl": None}, "gl_chosen": "glfw"},
            "MUJOCO_GL=glfw does not work (no display): unset it",
        ),
        ({"disk_free": 1e8}, "only 0.1 GB of disk"),
        ({"memory_free": 1e9}, "only 1.0 GB of memory"),
    ],
)
def test_each_problem_is_one_line_with_its_cure(change, words):
    (problem,) = doctor_facts.problems({**WELL, **change})
    assert words in problem
    assert "\n" not in problem


def test_what_only_works_less_well_is_a_note():
    found = {
        **WELL,
        "gl": {"egl": "no library"},
        "cache": {"directory": "/cache", "bytes": 0, "writable": False},
    }
    assert doctor_facts.problems(found) == []
    assert any("needs no OpenGL" in note for note in doctor_facts.notes(found))
    assert any("XDG_CACHE_HOME" in note for note in doctor_facts.notes(found))


def test_an_installed_version_that_is_not_wanted_is_found(monkeypatch):
    """As if MuJoCo 4.0 were installed: we and MJX want 3.17."""
    version = importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: "4.0.0" if name == "mujoco" else version(name)
    )
    assert ("mjx-sac", "mujoco==3.17.*", "4.0.0") in doctor_facts.unmet()


def test_the_command_tells_all_and_exits_2_where_something_is_broken(capsys, monkeypatch):
    monkeypatch.setattr(opengl, "problem", {"egl": "no library", "osmesa": None}.get)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(doctor_facts, "problems", lambda _: [])
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "egl does not work: no library, osmesa works" in out
    assert out.endswith("no problems\n")
    monkeypatch.setattr(doctor_facts, "problems", lambda _: ["it is broken: mend it"])
    code, out, _ = run(capsys, "doctor")
    assert (code, out.splitlines()[-1]) == (2, "problem: it is broken: mend it")
    found = json.loads(run(capsys, "doctor", "--json")[1])
    assert found["problems"] == ["it is broken: mend it"]
    assert found["devices"] == ["cpu"]


def test_the_name_of_a_gpu_comes_from_the_drivers_tool(monkeypatch):
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *_, **__: subprocess.CompletedProcess([], 0, "NVIDIA H100\nNVIDIA H100\n"),
    )
    assert doctor_facts.nvidia_gpu() == "NVIDIA H100"

    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert doctor_facts.nvidia_gpu() is None


def test_a_gl_backend_is_tried_in_a_process_of_its_own(monkeypatch):
    assert "invalid value for environment variable MUJOCO_GL: nonsense" in (
        opengl.problem("nonsense") or ""
    )
    monkeypatch.setattr(
        opengl, "_TRIAL", "import os; raise SystemExit(os.environ['MUJOCO_GL'] != 'right')"
    )
    opengl.problem.cache_clear()
    assert opengl.problem("right") is None
    assert opengl.problem("wrong") == "the process died"
    opengl.problem.cache_clear()


@pytest.mark.parametrize(
    ("given", "broken", "chosen", "words"),
    [
        (None, [], "egl", None),
        (None, ["egl"], "osmesa", None),
        (None, ["egl", "osmesa"], None, "egl: broken; osmesa: broken"),
        ("osmesa", [], "osmesa", None),
        ("glfw", ["glfw"], "glfw", "glfw: broken"),
    ],
)
def test_the_first_gl_backend_that_works_is_chosen(monkeypatch, given, broken, chosen, words):
    monkeypatch.setattr("sys.modules", {})
    monkeypatch.setattr(opengl, "problem", lambda backend: "broken" if backend in broken else None)
    monkeypatch.setenv("MUJOCO_GL", given or "")
    if given is None:
        monkeypatch.delenv("MUJOCO_GL")
    assert opengl.choose() == words
    assert os.environ.get("MUJOCO_GL") == chosen


def test_environments_are_listed_with_sizes_where_they_are_cheap(capsys):
    rows = {row.env: row for row in catalog.rows()}
    assert rows["Pendulum-v1"][2:] == (3, 1, "")
    assert rows["Ant-v5"][2:] == (105, 8, "")
    assert rows["ant"].observation_size is None  # some seconds each
    assert "CartPole-v1" not in rows  # its actions are discrete
    assert "Ant-v4" not in rows
    assert "fast" not in rows
    assert "swimmer" not in rows
    assert "counter" in rows
    assert all(
        name.startswith(("playground/", "counter")) or envs.check(name) is None for name in rows
    )


def test_a_search_tells_sizes_and_what_is_missing(capsys, monkeypatch):
    code, out, _ = run(capsys, "envs", "--search", "COUNTER")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["counter", "2", "1"]
    (row,) = json.loads(run(capsys, "envs", "--search", "lunarlander-v3", "--json")[1])
    assert "Box2D is not installed" in row["missing"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "mjx-sac[playground]" in run(capsys, "envs", "--search", "playground")[1]
    code, _, err = run(capsys, "envs", "--search", "nonsense")
    assert code == 2
    assert "no environment's name contains it" in err
