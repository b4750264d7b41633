"""What sets the project up says the same everywhere."""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name(requirement: str) -> str:
    return re.split(r"[\[<>=~!; ]", requirement)[0]


def test_pip_and_uv_pin_the_same_versions():
    pinned = PROJECT["project"]["optional-dependencies"]["pinned"]
    assert set(pinned) <= set(PROJECT["tool"]["uv"]["constraint-dependencies"])
    required = {name(each) for each in PROJECT["project"]["dependencies"]}
    unpinned = {"flatbuffers", "ml-dtypes", "numpy", "packaging", "scipy"}  # others decide
    assert {name(each) for each in pinned} == required - unpinned | {"jaxlib"}


def test_ci_runs_the_test_command_of_the_readme():
    command = "uv run --group dev pytest"
    assert command in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_every_dependency_is_justified():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    extras = PROJECT["project"]["optional-dependencies"].values()
    every = [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)]
    peers = {"mjx-sac", "jaxlib", "flashbax"}
    assert [each for each in map(name, every) if each not in text and each not in peers] == []


def test_a_private_api_has_an_upper_bound():
    bounded = {name(each) for each in PROJECT["project"]["dependencies"] if "<" in each}
    assert {"jax", "gymnasium"} <= bounded


def test_the_citation_is_of_this_project():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    citation = dict(line.split(": ", 1) for line in lines if ": " in line and line[0] != " ")
    project = PROJECT["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Changelog"].partition("/blob/")[0]
