"""How the benchmark measures, and that all of it runs on a small environment."""

import json
import subprocess
import sys

import pytest

from mjx_sac.bench import host, stages
from mjx_sac.bench.spread import ratio, spread
from mjx_sac.config import Config


class Clock:
    """Shows what it was last set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_amounts_over_seconds():
    clock, seconds = Clock(), iter([9, 0.125, *[0.125, 0.125], *[0.25, 0.25]])
    calls = []

    def call():
        calls.append("slow")
        clock.now += next(seconds)

    # A call to warm up and one that takes 1/8 s; 0.3 s are then two calls a turn, of 5 each.
    rates = stages.measure({"slow": stages.Stage("x", 5, call)}, repeats=2, clock=clock)
    assert len(calls) == 2 + 2 * 2
    assert rates["slow"] == [10 / 0.25, 10 / 0.5]
    assert spread(rates["slow"]) == {"median": 30.0, "min": 20.0, "max": 40.0}


def test_stages_take_turns_and_peers_time_themselves():
    order = []

    def stage(name, rate):
        def call():
            order.append(name)
            return rate

        return stages.Stage("x", 1, call)

    rates = stages.measure({"a": stage("a", 2.0), "b": stage("b", 4.0)}, repeats=2)
    assert rates == {"a": [2.0, 2.0], "b": [4.0, 4.0]}
    assert "".join(order) == "aabb" + "ba" + "ab"
    assert ratio(rates["b"], rates["a"])["median"] == 2.0


def test_shares_of_a_run():
    # 100 epochs of 10,000 iterations in 100 s, 20 evaluations of 10 episodes.
    config = Config(iterations=1_000_000, log_interval=64, num_envs=100)
    rates, log, saved = {"epoch": 10_000.0, "evaluation": 20.0}, {"median": 0.1}, {"median": 0.3}
    shares = host.shares(config, rates, log, {"stall_seconds": saved})
    whole = 100 + 10 + 30 + 10
    assert shares == pytest.approx(
        {"logging": 10 / whole, "checkpoints": 30 / whole, "evaluation": 10 / whole}
    )
    del rates["evaluation"]
    assert "evaluation" not in host.shares(config, rates, log, {"stall_seconds": saved})


def test_epochs_of_heavy_gradient_steps_are_shorter():
    config = Config(num_envs=1, log_interval=1600, updates_per_iteration=2)
    # 1e12 operations are 500 iterations of two steps of 1e9 each.
    assert stages.shorter(config, 1e9).epoch_iterations == 500
    assert stages.shorter(config, 1e14).epoch_iterations == 1
    assert stages.shorter(config, 1e8) == stages.shorter(config, float("nan")) == config


POINT = """\
import jax.numpy as jnp

from mjx_sac.envs.base import State
from mjx_sac.types import Step


class Point:
    observation_size = action_size = 1

    def reset(self, key):
        return State(jnp.zeros(1), ())

    def step(self, state, action):
        observation, no = state.observation + action, jnp.array(False)
        return State(observation, ()), Step(observation, -observation[0], no, no)
"""


@pytest.mark.slow
def test_bench_of_a_small_environment(tmp_path):
    flags = "--env bench_env:Point --repeats 2 --iterations 64 --buffer_size 1000 --batch_size 8"
    command = f"bench {flags} --hidden_sizes 8 --json b.json"
    (tmp_path / "bench_env.py").write_text(POINT)
    done = subprocess.run(
        [sys.executable, "-m", "mjx_sac", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "b.json").read_text())
    rows = result["stages"]
    ours = "epoch environment evaluation replay_insert replay_sample update matmul"
    assert set(rows) == {*ours.split(), "matmul_of_a_layer"}
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows.values())
    assert sum(result["share_of_an_epoch"].values()) == pytest.approx(1.0)
    assert set(result["share_of_a_run"]) == {"logging", "checkpoints", "evaluation"}
    assert result["checkpoint"]["bytes"] > 0
    assert 0 < result["roofline"]["fraction"] < 1
    assert "updates/s that dense products allow" in done.stdout
