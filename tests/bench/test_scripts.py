"""The scripts of `benchmarks/`, as far as they run without a GPU and without peers."""

import json
import runpy
import subprocess
import sys
import threading
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import benchmarks
from helpers.runs import COUNTER, SMALL, scalars

from mjx_sac import networks
from mjx_sac.config import Config, UsageError

OTHER_PYTHON = {"sbx_sac.py", "rlx_sac.py"}
"""Those that are run where the peer is installed."""
SCRIPTS = {p.name for p in benchmarks.DIRECTORY.glob("*.py") if "__main__" in p.read_text()}


@pytest.mark.parametrize("name", sorted(SCRIPTS - OTHER_PYTHON))
def test_help(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(benchmarks.DIRECTORY)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setenv("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # some scripts set it
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(benchmarks.DIRECTORY / name), run_name="__main__")
    assert stop.value.code == 0
    assert f"usage: {name}" in capsys.readouterr().out


def test_unknown_peer_is_refused():
    peers = benchmarks.load("peers")
    with pytest.raises(UsageError, match="no such peer; did you mean brax"):
        peers.load(["brex"], Config(env="ant"), 1, None)


@pytest.mark.parametrize(("sizes", "outputs"), [((27,), 16), ((27, 8), 1)], ids=["actor", "critic"])
def test_pallas_networks_equal_ours(monkeypatch, sizes, outputs):
    pallas_mlp = benchmarks.load("pallas_mlp")
    monkeypatch.setattr(pallas_mlp, "INTERPRET", True)
    key = jax.random.PRNGKey(0)
    inputs = tuple(jax.random.normal(jax.random.fold_in(key, size), (64, size)) for size in sizes)
    plain, fused = networks.MLP((64, 64), outputs), pallas_mlp.MLP((64, 64), outputs)
    params = plain.init(key, *inputs)
    # Biases start at zero.
    moved = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape), params)

    def loss(mlp, params, inputs):
        return jnp.sum(jnp.sin(mlp.apply(params, *inputs)))

    expected = jax.value_and_grad(partial(loss, plain), argnums=(0, 1))(moved, inputs)
    found = jax.value_and_grad(partial(loss, fused), argnums=(0, 1))(moved, inputs)
    assert jax.tree.structure(fused.init(key, *inputs)) == jax.tree.structure(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)


def test_recorded_steps_are_replayed():
    found = benchmarks.load("recorded_steps").measure("fasttd3")
    assert (found["code"], found["steps"]) == ("younggyoseo/FastTD3", 10)
    assert 0 < found["largest_difference"] <= 1e-6, "as its test has it"
    assert found["largest_difference"] == max(found["of_each_part"].values())


def gpu_launches(*flags):
    """Compile for an H200 where `jax[cuda12]` is installed; neither driver nor chip is needed."""
    pytest.importorskip("jax_plugins.xla_cuda12")
    command = [sys.executable, str(benchmarks.DIRECTORY / "gpu_launches.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_gpu_launches_stay_in_their_budget():
    result = gpu_launches()
    assert result["launches_per_update"] <= 66  # the aim is 50
    bare = result["launches_per_vector_step_of_bare_physics"]
    # What belongs to episodes is fused.
    assert result["launches_per_vector_step_of_physics_and_episodes"] <= 1.05 * bare + 5
    assert result["launches_per_vector_step_beside_updates"] <= 1.1 * bare
    # Or the GPU would ask the host at every turn.
    assert all(loop["trips"] for loop in result["loops"])
    assert result["bytes"]["in_place"] == result["bytes"]["state"]
    assert result["bytes"]["temporary"] < 0.2 * result["bytes"]["state"]


def test_recorded_launches_are_those_of_todays_programs_and_in_their_budgets():
    """Without `jax[cuda12]`: XLA gets as many operations for a GPU as when they were counted."""
    recorded = json.loads((benchmarks.DIRECTORY / "results/gpu_launches_updates.json").read_text())
    launches, known = recorded["launches_per_update"], recorded["operations"]
    assert launches["sac"] <= 66
    assert launches["flashsac"] <= 3 * launches["sac"]
    if recorded["measured_with"]["versions"]["jax"] != jax.__version__:
        pytest.skip("counted with another JAX")
    script = benchmarks.load("gpu_launches")
    now = {name: script.operations(script.defaults(name)) for name in ("sac", "csac", "flashsac")}
    assert now == {name: known[name] for name in now}, "count again: gpu_launches.py --updates"


@pytest.mark.slow
def test_pallas_networks_halve_the_launches():
    assert gpu_launches("--pallas")["launches_per_update"] <= 32


def test_a_seam_is_a_move_that_is_not_usual():
    """Of 100 epochs' curve that goes up and down by 2; after 50 it is 10 higher, or lower by 2."""
    long_run = benchmarks.load("long_run")
    curve = {epoch: epoch % 2 * 2.0 for epoch in range(1, 101)}
    assert long_run.seam(curve, 50) == 1
    assert long_run.seam({epoch: y + 10 * (epoch > 50) for epoch, y in curve.items()}, 50) == 6
    assert long_run.seam(dict.fromkeys(curve, 0.0), 50) is None
    assert long_run.seam(curve, 0) is None


def test_a_trackers_cost_is_compared_within_a_turn(tmp_path, monkeypatch, capsys):
    """Turn i takes i + 1 microseconds per iteration without a tracker, 3 with one."""
    tracker_cost = benchmarks.load("tracker_cost")
    done = []

    def one_run(config, tracker, directory):
        done.append(tracker)
        turn = int(directory.name.rpartition("_")[2])
        seconds = 1e-6 * (3 if tracker == "trackio" else turn + 1)
        used = {"core": 0.01 * turn, "start_core_seconds": 4.0}
        used |= {"host": 0.001, "finish_seconds": 2.0}
        return {"seconds": seconds, **used}

    monkeypatch.setattr(tracker_cost, "one_run", one_run)
    path = tmp_path / "cost.json"
    for variable in ("WANDB_MODE", "TRACKIO_DIR"):
        monkeypatch.setenv(variable, "")  # the script's are undone
    monkeypatch.setattr(sys, "argv", ["tracker_cost.py", "--trackers=trackio", f"--json={path}"])
    tracker_cost.main()
    assert done[:4] == ["none", "trackio", "trackio", "none"]
    result = json.loads(path.read_text())
    cost = result["trackers"]["trackio"]
    assert cost["seconds_beside_none"] == pytest.approx({"median": 3 / 4, "min": 3 / 7, "max": 3})
    lost = cost["lost_microseconds_per_iteration"]
    assert lost == pytest.approx({"median": -1, "min": -4, "max": 2})
    assert cost["core"] == pytest.approx({"median": 0.03, "min": 0, "max": 0.06})
    assert cost["version"]
    assert result["measured_with"]["versions"]["jax"]
    monkeypatch.setattr(sys, "argv", ["tracker_cost.py", "--repeats=6"])
    with pytest.raises(SystemExit):
        tracker_cost.main()
    assert "--repeats 6: a spread needs seven turns" in capsys.readouterr().err


def test_what_trackers_use_of_cores_is_their_threads_and_processes():
    """Half a second in a process, as much in a thread of a tracker's name, nothing in another."""
    core_seconds = benchmarks.load("tracker_cost").core_seconds

    def used(name):
        busy, over = threading.Event(), threading.Event()

        def work():
            while time.thread_time() < 0.5:
                pass
            busy.set()
            over.wait()

        before, thread = core_seconds(), threading.Thread(target=work, name=name)
        thread.start()
        busy.wait()
        seconds = core_seconds() - before
        over.set()
        thread.join()
        return seconds

    before = core_seconds()
    work = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-I", "-c", work], check=True)
    assert core_seconds() - before == pytest.approx(0.5, abs=0.1)
    assert used("track wandb") == pytest.approx(0.5, abs=0.1)
    assert used("another") == 0


def test_what_intervals_cost_is_what_an_epoch_does_not_explain():
    """Two epochs of 100 iterations in 3 s: 2 s are theirs, 0.8 an evaluation's, 0.2 the host's."""
    script = benchmarks.load("interval_cost")
    ticks = [script.Tick(100, 5.0, 1.0, 1.0)]  # of it only the end counts
    ticks += [script.Tick(200, 6.9, 100.0, 100 / 1.8), script.Tick(300, 8.0, 100.0, 100.0)]
    found = script.shares(ticks)
    expected = {
        "seconds": 3 / 200,
        "elsewhere": 1 / 3,
        "eval_share": 0.8 / 3,
        "host_share": 0.2 / 3,
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("long", "ends"), [(False, [64, 96, 128]), (True, [64, 128])])
def test_intervals_are_timed_from_one_evaluation_to_the_next(long, ends, tmp_path, monkeypatch):
    """32 iterations warm up, epochs are of 32: after the first that learns two, or one of 64."""
    script = benchmarks.load("interval_cost")
    seen = []
    monkeypatch.setattr(script, "shares", lambda ticks: [seen.extend(ticks), {}][-1])
    given = {**SMALL, "env": COUNTER, "warm_up_steps": 32, "checkpoint_interval": None}
    script.one_run(given, tmp_path / "run", long)
    assert [tick.iterations for tick in seen] == ends
    evaluations = scalars(tmp_path / "run").get("eval/mean_reward", {})
    assert sorted(evaluations) == ([] if long else [64, 96, 128])


def test_intervals_are_compared_within_a_turn(tmp_path, monkeypatch, capsys):
    """Turn i takes i + 2 and 2 microseconds per iteration, in an order that changes."""
    script = benchmarks.load("interval_cost")
    done = []

    def one_run(given, directory, long):
        done.append((given["num_envs"], long))
        turn = int(directory.name.rpartition("_")[2])
        shares = {"elsewhere": 0.01 * turn, "eval_share": 0.0, "host_share": 0.0}
        return {"seconds": 2e-6 if long else 1e-6 * (turn + 2), **shares}

    monkeypatch.setattr(script, "one_run", one_run)
    path = tmp_path / "cost.json"
    monkeypatch.setattr(sys, "argv", ["x", "--num_envs", "1", "16", f"--json={path}"])
    script.main()
    assert done[:4] == [(1, False), (1, True), (1, True), (1, False)]
    found = json.loads(path.read_text())["num_envs"]["16"]
    assert found["seconds_beside_long"] == pytest.approx({"median": 5 / 2, "min": 1, "max": 4})
    assert found["shares"]["elsewhere"] == pytest.approx({"median": 0.03, "min": 0, "max": 0.06})
    assert found["iterations_per_second"]["long"]["max"] == pytest.approx(5e5)
    monkeypatch.setattr(sys, "argv", ["x", "--repeats=6"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--repeats 6: a spread needs seven turns" in capsys.readouterr().err
