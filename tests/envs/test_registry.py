"""Environments by name: the registry, users' modules, and what is refused."""

import subprocess
import sys

import brax.envs
import pytest
from helpers.envs import Counter

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import registry


def test_brax_names_are_brax_registry():
    assert set(registry.BRAX_NAMES) == set(brax.envs._envs)


@pytest.mark.parametrize("module", ["mjx_sac", "mjx_sac.envs"])
def test_importing_the_package_imports_no_heavy_library(module):
    code = f"import sys, {module}; print({{'jax', 'brax', 'gymnasium'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_registered_factory_is_used():
    envs.register("mine", lambda: Counter(ends_at=7))
    assert envs.make("mine").ends_at == 7


def test_a_factory_in_a_module():
    assert envs.make("helpers.envs:Counter").action_size == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("helpers.envs:Missing", ["AttributeError", "Missing"]),
        ("helpers.runs:make_config.nothing", ["AttributeError"]),
        ("helpers.runs:make_experiment", ["Experiment is no environment", "observation_size"]),
    ],
)
def test_a_factory_of_something_else_is_refused_in_one_line(name, words):
    with pytest.raises(UsageError) as error:
        envs.make(name)
    assert all(word in str(error.value) for word in words), error.value


def test_a_registered_factory_that_fails_is_one_line():
    def fails():
        raise ZeroDivisionError("boom")

    envs.register("fails", fails)
    with pytest.raises(UsageError, match=r"env = 'fails': line \d+: ZeroDivisionError: boom"):
        envs.make("fails")


def test_swimmer_which_does_not_run_is_refused():
    with pytest.raises(UsageError, match="env = 'swimmer': Brax"):
        envs.make("swimmer")
