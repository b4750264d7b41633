"""`--losses`: README's algorithms, what is remembered of them, and files that are none."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL, Counter, make_config
from test_cli import run
from test_losses import NETWORKS, batch, state
from test_probes import GAMMA, Probe, trained
from test_readme import ALGORITHMS

from mjx_sac import algorithm, api, rundir, sac
from mjx_sac.config import Config, UsageError
from mjx_sac.losses import Losses, critic_loss

LIMITS = {"td3.py": 60, "redq.py": 30, "cql.py": 30}
FLAGS = [f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in SMALL.items()]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A directory with README's algorithms, to be in."""
    monkeypatch.chdir(tmp_path)
    for name, text in ALGORITHMS.items():
        pathlib.Path(name).write_text(text)
    return tmp_path


def test_the_readme_has_three_short_algorithms():
    assert ALGORITHMS.keys() == LIMITS.keys()
    assert all(len(ALGORITHMS[name].splitlines()) < limit for name, limit in LIMITS.items())


@pytest.mark.parametrize("name", ["td3.py", "redq.py"])
def test_values_and_the_best_action_are_learned(files, name):
    # Two steps, observed as 0 and 1; the second pays 1 - (a - 1/2)^2. Q(1, a) is that, Q(0) = gamma * max Q(1) = gamma.
    env = Probe(lambda o, a, n: (n == 1) * (1 - jnp.square(a - 0.5)), steps=2, observe=lambda start, n: jnp.float32(n))
    flags = {"updates_per_iteration": 1, "policy_delay": 2, "log_interval": 2304, "iterations": 2304}
    q, policy = trained(env, file=name, **flags)
    assert [q(0.0, 0.0), q(1.0, 0.5), q(1.0, -0.5)] == pytest.approx([GAMMA, 1.0, 0.0], abs=0.15)
    assert policy(1.0) == pytest.approx(0.5, abs=0.15)


def test_a_small_conservative_penalty_leaves_the_values_of_what_was_tried(files):
    # One step, so no bootstrap. The fixed point of w (softmax density / data density - 1) + Q - r = 0 is within a few w of r.
    # The temperature stays at 0.1: where nothing but one action is tried, the values of all others fall without end.
    env = Probe(lambda o, a, n: 1 - jnp.square(a - o / 2))
    flags = {"cql_weight": 0.02, "cql_actions": 4, "initial_alpha": 0.1, "log_interval": 2304, "iterations": 2304}
    q, policy = trained(env, file="cql.py", **flags)
    assert [q(1.0, 0.5), q(-1.0, -0.5)] == pytest.approx([1.0, 1.0], abs=0.15)
    assert [policy(1.0), policy(-1.0)] == pytest.approx([0.5, -0.5], abs=0.2)
