"""`mjx-sac doctor`: facts of a machine, and what is wrong with it."""

import json
import os
import subprocess
import sys

import pytest

from mjx_sac.cli import doctor

WELL = {
    "versions": {"mujoco": "3.17.0", "mujoco-mjx": "3.17.0"},
    "unmet": [],
    "flags_error": None,
    "device_error": None,
    "settings_not_used": [],
    "platform": "cpu",
    "devices": ["cpu"],
    "memory_free": 8e9,
    "nvidia_gpu": None,
    "cuda_plugins": [],
    "gl": {"egl": None, "osmesa": "no library"},
    "gl_chosen": None,
    "cache": {"directory": "/cache", "bytes": 0, "writable": True},
    "disk_free": 1e12,
    "bfloat16": None,
}


def test_a_machine_that_is_well_has_no_problems():
    assert doctor.problems(WELL) == []
    assert doctor.notes(WELL) == []


BOTH = ["jax_cuda12_plugin", "jax_cuda13_plugin"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unmet": [("us", "mujoco==3.17.*", "4.0")]}, "pip install 'mujoco==3.17.*'"),
        ({"versions": {"mujoco": "3.17.1", "mujoco-mjx": "3.17.0"}}, "install 'mujoco==3.17.0'"),
        ({"device_error": "no backend", "platform": None}, "(no backend): unset JAX_PLATFORMS"),
        ({"flags_error": "XLA: x", "device_error": "XLA: x", "platform": None}, "XLA: x"),
        ({"nvidia_gpu": "H100"}, "H100 is not used: uv run --extra cuda12"),
        ({"nvidia_gpu": "H100", "cuda_plugins": BOTH[:1]}, "see JAX_PLATFORMS"),
        ({"cuda_plugins": BOTH}, "keep one extra"),
        ({"gl": {"glfw": "no display", "egl": None}, "gl_chosen": "glfw"}, "(no display): unset"),
        ({"disk_free": 1e8}, "100.0 MB of disk"),
        ({"memory_free": 1e9}, "1.0 GB of memory"),
    ],
)
def test_each_problem_is_one_line_with_its_cure(change, words):
    (problem,) = doctor.problems({**WELL, **change})
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gl": {"egl": "no library"}}, "needs no OpenGL"),
        ({"cache": {"directory": "/cache", "bytes": 0, "writable": False}}, "XDG_CACHE_HOME"),
        ({"bfloat16": False}, "--matmul_precision bfloat16 makes updates slower"),
        ({"settings_not_used": ["JAX_DISABLE_JIT=1"]}, "JAX_DISABLE_JIT=1 is not used"),
    ],
)
def test_what_works_less_well_is_a_note(change, words):
    (note,) = doctor.notes({**WELL, **change})
    assert words in note
    assert doctor.problems({**WELL, **change}) == []


def test_requirements_that_are_not_met_are_found(tmp_path, monkeypatch):
    metadata = tmp_path / "needy-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    needs = ["numpy<1", "numpy>1", "nothing_like_it>=2", "also_nothing; extra == 'more'"]
    lines = ["Metadata-Version: 2.1", "Name: needy", "Version: 1.0"]
    metadata.write_text("\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""]))
    monkeypatch.syspath_prepend(tmp_path)
    found = {wanted: there for _, wanted, there in doctor.unmet(["needy", "not_installed"])}
    assert found.keys() == {"numpy<1", "nothing_like_it>=2"}
    assert found["nothing_like_it>=2"] == "(none)"


def test_a_gpus_name_comes_from_the_drivers_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.nvidia_gpu() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho NVIDIA H100\necho NVIDIA H100\n")
    tool.chmod(0o755)
    assert doctor.nvidia_gpu() == "NVIDIA H100"


@pytest.mark.parametrize("flag", ["", "--json"])
def test_a_broken_machine_exits_2_with_everything(flag, tmp_path):
    """MUJOCO_GL names nothing that exists, and the cache lies below a file."""
    (tmp_path / "file").touch()
    environment = {"MUJOCO_GL": "nonsense", "XDG_CACHE_HOME": str(tmp_path / "file")}
    done = invoke(flag, environment)
    assert done.returncode == 2
    if flag:
        found = json.loads(done.stdout)
        assert found["devices"] == ["cpu"]
        problems = found["problems"]
    else:
        assert "jax " in done.stdout
        problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert any("MUJOCO_GL=nonsense does not work" in problem for problem in problems)


def invoke(flag, environment):
    command = [sys.executable, "-m", "mjx_sac", "doctor", *filter(None, [flag])]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env)
