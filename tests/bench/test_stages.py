"""What the benchmark counts and how it measures. What a machine's rates are is nothing that a test can know."""

import json
import pathlib
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_sac import networks
from mjx_sac.bench import roofline, stages
from mjx_sac.config import Config, UsageError
from mjx_sac.training.host import hlo


def test_flops_of_an_update_by_hand():
    # Batch 2, one hidden layer of 3, observations of 4, one action. A product of [2, a] and [a, b] takes 2 * 2 * a * b = 4ab.
    # Actor 4-3-2: 48 + 24 = 72. Critic 5-3-1: 60 + 12 = 72. Down to the action only: 4 * 1 * 3 = 12.
    # Critics' loss: actor 72; each critic target 72, forward 72, weights 72, inputs of the last layer 12: 72 + 2 * 228 = 528.
    # Actor's loss: forward 72; each critic forward 72, inputs of the last 12, action 12; actor's weights 72, inputs 24: 360.
    config = Config(env="point", batch_size=2, hidden_sizes=(3,), num_envs=1)
    assert roofline.flops_per_update(config, 4, 1) == 528 + 360


def test_flops_agree_with_xla_where_products_are_most_of_it():
    config = Config(env="point", batch_size=256, hidden_sizes=(256, 256))
    ours, theirs = roofline.flops_per_update(config, 27, 8), roofline.xla_flops(config, 27, 8)
    assert ours < theirs < 1.05 * ours


def test_rates_are_amounts_over_seconds_and_peers_time_themselves():
    calls = []

    def slow():
        calls.append(None)
        stages.time.sleep(0.05)

    rates, values = stages.measure(
        {"slow": stages.Stage("x", 5, slow), "peer": stages.Stage("y", 1, lambda: 42.0)}, repeats=2
    )
    assert (
        len(calls) == 2 + 2 * 6
    )  # to warm up and to see how long it takes; then 0.3 s are six calls
    assert rates["slow"]["median"] == pytest.approx(100, rel=0.2)
    assert rates["slow"]["min"] <= rates["slow"]["median"] <= rates["slow"]["max"]
    assert values["peer"] == [42.0, 42.0]


PROGRAM = """\
HloModule jit_f

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %fusion.1 = (f32[4]{0}, f32[4]{0}) fusion(%p), kind=kLoop, calls=%fused
  %gte = s32[] get-tuple-element(%p), index=0
  %add = s32[] add(%gte, %gte)
  ROOT %t = (s32[], f32[4]{0}) tuple(%add, %fusion.1)
}

%yes (q: f32[4]) -> f32[4] {
  %q = f32[4]{0} parameter(0)
  %one = f32[4]{0} negate(%q)
  ROOT %two = f32[4]{0} negate(%one)
}

%no (q.1: f32[4]) -> f32[4] {
  ROOT %q.1 = f32[4]{0} parameter(0)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%a), body=%body, metadata={op_name="jit(f)/while"}, config={"known_trip_count":{"n":"10"}}
  %cond = f32[4]{0} conditional(%w, %a, %a), branch_computations={%yes, %no}
  ROOT %copy = f32[4]{0} copy(%cond)
}
"""


def test_launches_by_hand():
    # The loop: a fusion and an addition, ten times. The longer branch: two. A copy.
    counted = hlo.count_launches(PROGRAM)
    assert counted.launches == 10 * 2 + 2 + 1
    assert counted.loops == (hlo.Loop("jit(f)/while", 10, 2),)


POINT = """\
import jax.numpy as jnp

from mjx_sac.envs.base import State
from mjx_sac.types import Step


class Point:
    observation_size = action_size = 1

    def reset(self, key):
        return State(jnp.zeros(1), ())

    def step(self, state, action):
        observation = state.observation + action
        return State(observation, ()), Step(observation, -observation[0], jnp.array(False), jnp.array(False))
"""


@pytest.mark.slow
def test_bench_of_a_small_environment(tmp_path):
    command = [
        "bench",
        "--env",
        "bench_env:Point",
        "--repeats",
        "2",
        "--iterations",
        "64",
        "--buffer_size",
        "1000",
        "--batch_size",
        "8",
    ]
    (tmp_path / "bench_env.py").write_text(POINT)
    done = subprocess.run(
        [sys.executable, "-m", "mjx_sac", *command, "--hidden_sizes", "8", "--json", "b.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "b.json").read_text())
    stages = result["stages"]
    assert set(stages) == {
        *(
            "epoch",
            "environment",
            "evaluation",
            "replay_insert",
            "replay_sample",
            "update",
            "matmul",
            "matmul_of_a_layer",
        ),
    }
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in stages.values())
    assert sum(result["share_of_an_epoch"].values()) == pytest.approx(1.0)
    assert result["checkpoint"]["bytes"] > 0
    assert "updates/s that dense products allow" in done.stdout


def test_unknown_peer_is_refused():
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))
    import peers

    with pytest.raises(UsageError, match="peers = 'brex': no such peer; did you mean brax"):
        peers.load(["brex"], Config(env="ant"), 1, None)


@pytest.mark.parametrize(("sizes", "outputs"), [((27,), 16), ((27, 8), 1)], ids=["actor", "critic"])
def test_networks_as_pallas_kernels_are_the_networks(monkeypatch, sizes, outputs):
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))
    import pallas_mlp

    monkeypatch.setattr(pallas_mlp, "INTERPRET", True)
    key = jax.random.PRNGKey(0)
    inputs = tuple(jax.random.normal(jax.random.fold_in(key, size), (64, size)) for size in sizes)
    plain, fused = networks.MLP((64, 64), outputs), pallas_mlp.MLP((64, 64), outputs)
    params = plain.init(key, *inputs)
    moved = jax.tree.map(
        lambda x: x + 0.1 * jax.random.normal(key, x.shape), params
    )  # biases start at zero

    def loss(mlp, params, inputs):
        return jnp.sum(jnp.sin(mlp.apply(params, *inputs)))

    expected = jax.value_and_grad(partial(loss, plain), argnums=(0, 1))(moved, inputs)
    found = jax.value_and_grad(partial(loss, fused), argnums=(0, 1))(moved, inputs)
    assert jax.tree.structure(fused.init(key, *inputs)) == jax.tree.structure(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.slow
def test_a_gpu_launches_no_more_than_so_many_kernels():
    """Compiled for an H200 where `jax[cuda12]` is installed; neither a driver nor a chip is needed."""
    pytest.importorskip("jax_plugins.xla_cuda12")
    command = [
        sys.executable,
        str(pathlib.Path(__file__).parents[2] / "benchmarks" / "gpu_launches.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["launches_per_update"] <= 63  # the aim is 50
    bare = result["launches_per_vector_step_of_bare_physics"]
    assert (
        result["launches_per_vector_step_of_physics_and_episodes"] <= 1.05 * bare + 5
    )  # what belongs to episodes is joined
    assert result["launches_per_vector_step_beside_updates"] <= 1.1 * bare
    assert all(
        loop["trips"] for loop in result["loops"]
    )  # or the GPU would ask the host at every turn
    assert result["bytes"]["in_place"] == result["bytes"]["state"]
    assert result["bytes"]["temporary"] < 0.2 * result["bytes"]["state"]


@pytest.mark.slow
def test_pallas_kernels_compile_for_a_gpu_and_are_half_the_launches():
    pytest.importorskip("jax_plugins.xla_cuda12")
    command = [
        sys.executable,
        str(pathlib.Path(__file__).parents[2] / "benchmarks" / "gpu_launches.py"),
        "--pallas",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["launches_per_update"] <= 32
