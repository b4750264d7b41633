"""Eight devices do what one does, and what they exchange is counted."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from helpers.runs import make_config

from mjx_sac.config import Config, UsageError, build
from mjx_sac.training.compiled.epoch import UPDATES_PER_TURN
from mjx_sac.training.host import device, hlo, processes


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    script = str(pathlib.Path(__file__).parents[2] / "helpers" / "eight_devices.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path_factory.mktemp("eight"))],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(
        next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))[8:]
    )


def test_a_run_on_eight_devices_is_the_run_on_one_up_to_the_order_of_sums(answers):
    assert 0 < answers["eight"] < 1e-5, (
        "of every number in the state after 128 gradient steps; 0 would mean that nothing was split"
    )
    assert answers["metrics"] < 1e-5


def test_every_device_holds_its_environments_part_of_the_replay_buffer_and_updates_it_in_place(
    answers,
):
    rows, num_envs, size = answers["buffer"]
    assert num_envs == 8
    assert answers["buffer_parts"] == [[rows, 1, size]] * 8
    assert answers["epoch"]["in_place"] == answers["epoch"]["arguments"]


def test_a_checkpoint_goes_on_with_fewer_devices_and_with_more(answers):
    assert answers["down"] < 1e-5
    assert answers["up"] < 1e-5


def test_seeds_shared_by_devices_are_the_same_seeds_and_exchange_only_metrics(answers):
    assert answers["seeds"] < 1e-5
    assert {depth for _, _, depth in answers["seeds_epoch"]["exchanges"]} == {0}


def test_a_gradient_step_sums_its_gradients_in_two_exchanges_and_a_vector_step_moves_its_batches_in_one(
    answers,
):
    found = [hlo.Exchange(*each) for each in answers["epoch"]["exchanges"]]
    sums = [each for each in found if each.depth == 2]
    assert [each.kind for each in sums] == ["all-reduce"] * 2 * UPDATES_PER_TURN
    # The numbers of networks 3-8-1 (twice) and 2-8-2, and what goes with them: losses, the temperature's gradient.
    critics, actor = 2 * (3 * 8 + 8 + 8 + 1), 2 * 8 + 8 + 8 * 2 + 2
    per_step = sum(each.bytes for each in sums) / UPDATES_PER_TURN
    assert 4 * (critics + actor) <= per_step <= 4 * (critics + actor + 8)
    # 8 batches of 16 rows: two observations of 2, an action of 1, reward and discount.
    assert [each.bytes for each in found if each.kind == "reduce-scatter"] == [8 * 16 * 7 * 4]
    rest = [each.bytes for each in found if each.depth == 1 and each.kind != "reduce-scatter"]
    # Of each of these rows for the statistics: two values, their target, the reward, an action of 1 and its log-probability.
    rest.remove(8 * 16 * 6 * 4)
    assert sum(rest) < 200, "but for the batches, a vector step exchanges counters and statistics"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"num_envs": 12, "num_devices": 8},
            "num_envs 12 cannot be shared evenly by num_devices 8: make it 8 or 16",
        ),
        (
            {"batch_size": 100, "num_devices": 8},
            "batch_size 100 cannot be shared evenly by num_devices 8: make it 96 or 104",
        ),
        (
            {"num_seeds": 3, "num_devices": 2},
            "num_seeds 3 cannot be shared evenly by num_devices 2: make it 2 or 4",
        ),
        ({"num_devices": 0}, "num_devices = 0"),
        (
            {"coordinator": "here"},
            "give --num_processes and --process_id too, or --coordinator cluster",
        ),
        (
            {"coordinator": "here", "num_processes": 2, "process_id": 0},
            "coordinator here is no host:port",
        ),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "they count from 0 to 1"),
        ({"num_processes": 2, "process_id": 0}, "go with --coordinator"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_way_out(changes, told):
    with pytest.raises(UsageError, match=told):
        build(Config, {"num_envs": 16, "batch_size": 256, **changes})


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(
        UsageError,
        match=r"num_devices = 4: JAX finds \d \(cpu\): make it \d; XLA_FLAGS=--xla_force_host",
    ):
        processes.mesh(make_config(num_envs=4, num_devices=4))


@pytest.mark.skipif(device.cores() < 2, reason="one core")
def test_each_core_of_a_cpu_trains_agents_of_its_own_and_none_waits_for_a_thread_that_never_comes(
    tmp_path,
):
    flags = "--num_seeds 2 --num_devices 2 --num_envs 400 --batch_size 8 --hidden_sizes 8 --buffer_size 8000 --warm_up_steps 400"
    command = f"train --env factoring:Factoring {flags} --iterations 12000 --episodes_per_eval 0 --device cpu --logdir {tmp_path}"
    plain = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")
    }
    done = subprocess.run(
        [sys.executable, "-m", "mjx_sac", *command.split()],
        capture_output=True,
        text=True,
        env=plain,
        cwd=pathlib.Path(__file__).parents[2],
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 devices: no exchange but of metrics" in done.stdout
