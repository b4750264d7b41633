"""Eight devices do what one does, and what they exchange is bounded."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from mjx_sac.config import Config, UsageError, build
from mjx_sac.training.compiled.updates import UPDATES_PER_TURN
from mjx_sac.training.host import device, hlo

TESTS = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    script, directory = TESTS / "helpers" / "eight_devices.py", tmp_path_factory.mktemp("eight")
    command = [sys.executable, str(script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    return json.loads(line.removeprefix("ANSWERS "))


def test_a_run_on_eight_devices_is_the_run_on_one(answers):
    # Every number in the state after 128 gradient steps, up to the order of sums; 0 would mean
    # that nothing was sharded.
    assert 0 < answers["eight"] < 1e-5
    assert answers["metrics"] < 1e-5


def test_each_device_holds_its_environments_replay_buffer(answers):
    rows, num_envs, size = answers["buffer"]
    assert num_envs == 8
    assert answers["buffer_parts"] == [[rows, 1, size]] * 8
    assert answers["epoch"]["in_place"] == answers["epoch"]["arguments"]


def test_devices_draw_the_n_step_returns_that_one_draws(answers):
    windows = answers["windows"]
    assert windows["devices"] == 8
    assert windows["apart"] < 1e-6
    assert windows["discounts"] == [0.729, 0.81, 0.9], "of three steps, and of two and one"


def test_a_checkpoint_resumes_with_fewer_and_with_more_devices(answers):
    assert answers["down"] < 1e-5
    assert answers["up"] < 1e-5


def test_environments_keep_their_models_on_several_devices(answers):
    """Domain randomisation: each mass is one environment's, in every row of its episodes."""
    randomized = answers["randomized"]
    assert randomized["devices"] == 2
    assert randomized["apart"] < 1e-5
    assert len(set(randomized["masses"])) == 8
    assert randomized["seen"] == [[mass] for mass in randomized["masses"]]


@pytest.mark.parametrize("kind", ["offline", "halves", "agents"])
def test_each_device_has_the_data_set_and_all_draw_what_one_draws(answers, kind):
    found = answers["recorded"][kind]
    assert found["apart"] < 1e-5
    assert found["parts"] == [[256, 1]] * 2


def test_devices_share_batch_statistics_and_scaled_rewards(answers):
    """FlashSAC's: of whole batches, and of the returns of all eight environments."""
    apart = answers["flashsac"]
    assert apart["devices"] == 2
    assert apart["count"] == 128
    assert 0 < apart["train"] < 1e-4
    assert apart["variables"] < 1e-5
    assert apart["scaler"] < 1e-5
    assert apart["noise"] == 0
    assert apart["values"][1] == pytest.approx(apart["values"][0], rel=1e-3)


def test_each_device_remembers_what_its_environments_have_seen(answers):
    # Two observations of 2 and actions of 1 before the newest, of four environments each.
    assert 0 < answers["history"]["apart"] < 1e-5
    assert answers["history"]["parts"] == [[4, 6]] * 2


def test_devices_augment_whole_batches(answers):
    """With the noise that one device draws, though rows are twice as many as were drawn."""
    assert 0 < answers["augmented"] < 1e-5


def test_seeds_shared_by_devices_exchange_only_metrics(answers):
    assert answers["seeds"] < 1e-5
    assert {depth for _, _, depth in answers["seeds_epoch"]["exchanges"]} == {0}


def test_a_gradient_step_exchanges_little_more_than_gradients(answers):
    steps = [hlo.Exchange(*each) for each in answers["epoch"]["exchanges"] if each[2] == 2]
    # Networks 3-8-1 (twice) and 2-8-2, and with them losses and the temperature's gradient.
    critics, actor = 2 * (3 * 8 + 8 + 8 + 1), 2 * 8 + 8 + 8 * 2 + 2
    total = sum(each.bytes for each in steps) / UPDATES_PER_TURN
    assert 4 * (critics + actor) <= total <= 4 * (critics + actor + 8)
    assert len(steps) <= 4 * UPDATES_PER_TURN, "some for the critics' gradients, some for the rest"


def test_a_vector_step_exchanges_little_more_than_batches(answers):
    found = [hlo.Exchange(*each) for each in answers["epoch"]["exchanges"] if each[2] == 1]
    # 8 batches of 16 rows: two observations of 2, an action of 1, reward and discount; and for
    # statistics two values, their target, the reward, an action of 1 and its log-probability.
    batches, statistics = 8 * 16 * 7 * 4, 8 * 16 * 6 * 4
    total = sum(each.bytes for each in found)
    assert batches <= total <= batches + statistics + 200, "200 for counters and the normalizer"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_envs": 12, "num_devices": 8},
            "num_envs 12 cannot .* num_devices 8: make it 8 or 16",
        ),
        ({"batch_size": 100, "num_devices": 8}, "batch_size 100 cannot .* make it 96 or 104"),
        ({"num_seeds": 3, "num_devices": 2}, "num_seeds 3 cannot .* num_devices 2: make it 2 or 4"),
        ({"num_devices": 0}, "num_devices = 0"),
        ({"coordinator": "here"}, "give --num_processes and --process_id too"),
        ({"coordinator": "here", "num_processes": 2, "process_id": 0}, "here is no host:port"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "they count from 0 to 1"),
        ({"num_processes": 2, "process_id": 0}, "go with --coordinator"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        build(Config, {"num_envs": 16, "batch_size": 256, **changes})


@pytest.mark.skipif(device.cores() < 2, reason="one core")
def test_each_core_trains_its_agents_and_no_thread_is_missing(tmp_path):
    # LAPACK's parts of a device's program once found no thread, and waited for ever.
    config = {
        "env": "helpers.envs:Factoring", "num_seeds": 2, "num_devices": 2, "num_envs": 400,
        "batch_size": 8, "hidden_sizes": 8, "buffer_size": 8000, "warm_up_steps": 400,
        "iterations": 12_000, "episodes_per_eval": 0, "device": "cpu", "logdir": tmp_path,
    }  # fmt: skip
    command = [sys.executable, "-m", "mjx_sac", "train", *(f"--{k}={v}" for k, v in config.items())]
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=plain, cwd=TESTS, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 devices: no exchange but of metrics" in done.stdout
