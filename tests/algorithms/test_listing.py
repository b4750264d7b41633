"""What is said of packaged algorithms without importing them."""

import importlib
import json

import pytest
from helpers import benchmarks

from mjx_sac.algorithms import PACKAGED, describe, differences, loader, own_fields, owners
from mjx_sac.config import Config


@pytest.mark.parametrize("name", PACKAGED)
def test_fields_and_docstring_are_read_off_the_source(name):
    assert own_fields(name) == differences(loader.config_class(name))[1].keys()
    where = "losses" if name == "sac" else f"algorithms.{name}"
    said = importlib.import_module(f"mjx_sac.{where}").__doc__
    described = describe(name)
    assert said.startswith(f"{described.summary}.")
    assert " ".join(said.split()).endswith(f"References: {' '.join(described.papers)}")


def test_the_costs_are_those_that_were_measured():
    result = json.loads((benchmarks.DIRECTORY / "results/algorithm_costs.json").read_text())
    assert {name: one.cost for name, one in PACKAGED.items()} == result["cost"]


def test_an_actor_that_waits_counts_as_often_as_it_moves():
    """TD3 at its defaults: one of two gradient steps moves the actor."""
    count = benchmarks.load("algorithm_costs").count
    waits, never = count("td3"), count("td3", policy_delay=1)
    assert waits["iteration"] == waits["gradient_step"] < never["gradient_step"]
    twice = count("td3", updates_per_iteration=2)
    assert twice["iteration"] == 2 * waits["iteration"]


def test_a_fields_owners():
    assert owners("atoms") == ["flashsac", "xqc", "simbav2", "fasttd3", "fastsac", "brc", "csac"]
    assert owners("tau") == []
    changed, own = differences(loader.config_class("td3"))
    assert changed == {"policy_delay": 2, "target_delay": 2}
    assert own["target_noise"] == 0.2
    assert differences(Config) == ({}, {})
