"""`mjx-sac sweep` as a person types it: real trainings, a real SIGKILL, and one-line errors."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import cli
from helpers.runs import flags, make_config
from helpers.sweeps import sweep_process

from mjx_sac.cli import app
from mjx_sac.runs import array_store, event_files
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.sweep.job import check_metric
from mjx_sac.training.host import compile as compile_lib

GRID = ["--param", "policy_lr=1e-3,1e-2", "--param", "tau=0.1,0.2"]


def run(capsys, *arguments):
    return cli.run(capsys, "sweep", *flags(), *arguments)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return the directory of a grid over two numbers, and how many programs it took."""
    directory = tmp_path_factory.mktemp("sweep") / "grid"
    made = []
    with pytest.MonkeyPatch.context() as patch:
        make = compile_lib.Programs.__init__
        patch.setattr(
            compile_lib.Programs, "__init__", lambda self, *a: (made.append(a), make(self, *a))[1]
        )
        with pytest.raises(SystemExit) as stop:
            app.main(["sweep", *flags(), *GRID, "--logdir", str(directory)])
    assert stop.value.code == 0
    return directory, len(made)


def test_a_grid_of_numbers_is_one_program(swept):
    directory, programs = swept
    assert programs == 1
    found = json.loads((directory / "sweep.json").read_text())
    assert [row["settings"] for row in sorted(found["trials"], key=lambda row: row["trial"])] == [
        {"policy_lr": p, "tau": t} for p in (1e-3, 1e-2) for t in (0.1, 0.2)
    ]
    assert {row["score"] for row in found["trials"]} == {10.0}, "an episode is 0 + 1 + 2 + 3 + 4"
    assert found["agent_iterations"] == 4 * 128


def test_every_curve_can_be_the_metric(swept):
    directory, _ = swept
    curves = event_files.read(directory / "all" / "policy_lr=0.001,tau=0.1")
    assert len(curves) > 30
    slow = [tag for tag in curves if tag.startswith("diagnostics/")][2:]  # each traces the losses
    for tag in curves.keys() - slow:
        check_metric(make_config(), tag)


def test_a_finished_sweep_shows_its_table_again(capsys, swept):
    directory, _ = swept
    code, out, _ = run(capsys, *GRID, "--logdir", directory)
    assert code == 0
    assert "building" not in out
    assert "best: --policy_lr 0.001 --tau 0.1" in out
    rows = (directory / "sweep.csv").read_text().splitlines()
    assert rows[0] == "trial,policy_lr,tau,score,low,high,iterations,state,run"
    assert rows[1].startswith("0,0.001,0.1,10.0,10.0,10.0,128,completed,")
    assert (directory / "sweep.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(run(capsys, *GRID, "--logdir", directory, "--json")[1])
    assert found == json.loads((directory / "sweep.json").read_text())


def test_survivors_continue_from_their_very_state(capsys, tmp_path):
    """As many agents as the grid has, so the first program is compiled already."""
    space = ["--param", "policy_lr=1e-3..1e-2", "--param", "tau=0.1..0.2"]
    how = ["--search", "random", "--trials", "4", "--pruner", "halving", "--max_to_keep", "9"]
    code, out, _ = run(capsys, *space, *how, "--logdir", tmp_path)
    assert code == 0
    assert "25% saved by the pruner" in out  # of 4 * 128: 2 * 64
    parent, child = (
        dict(array_store.read(checkpoint_path(tmp_path / name, 64) / "state"))
        for name in ("wave_0", "wave_0,rung_1")
    )
    assert steps(tmp_path / "wave_0,rung_1") == [64, 96, 128]
    rows = json.loads((tmp_path / "sweep.json").read_text())["trials"]
    kept = sorted(row["trial"] for row in rows if row["state"] == "completed")
    for name, array in child.items():
        expected = parent[name][kept] if parent[name].ndim else parent[name]
        np.testing.assert_array_equal(array, expected)


BAD = [
    ([], "nothing varies"),
    (["--param", "tau=0.1,2"], "tau = '2'"),
    (["--param", "tua=0.1"], "did you mean tau?"),
    (["--param", "tau=0.1..0.2"], "a range has no grid"),
    (["--param", "tau=0.1", "--tau", "0.2"], "has a fixed value too"),
    (["--param", "tau=0.1", "--trials", "3"], "a grid tries all"),
    (["--param", "tau=0.1", "--members", '[{"tau": 0.1}]'], "a sweep makes them itself"),
    (["--param", "tau=0.1", "--episodes_per_eval", "0"], "--metric rollout/ep_rew_mean"),
    (["--param", "tau=0.1", "--metric", "eval/mean_rewrad"], "did you mean eval/mean_reward?"),
    (["--param", "tau=0.1", "--metric", "train/critc_loss"], "did you mean train/critic_loss?"),
    (["--param", "tau=0.1", "--stop_at", "5"], "leave it out"),
    (["--param", "tau=0.1", "--pruner", "halving", "--iterations", "64"], "in the first half"),
    (["--param", "tau=0.1", "--workers", "2"], "say --ray local"),
    (["--param", "tau=0.1", "--ray", "nowhere"], "no address"),
    (["--param", "tau=0.1", "--ray", "127.0.0.1:9"], "nobody answers"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_input_is_one_line_and_nothing_written(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err, err
    assert not list(tmp_path.iterdir())


def without(monkeypatch, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == module else find(name, *a)
    )


@pytest.mark.parametrize(
    ("module", "more", "extra"), [("optuna", [], "tune"), ("ray", ["--ray", "local"], "ray")]
)
def test_an_extra_that_is_missing_is_named(capsys, monkeypatch, tmp_path, module, more, extra):
    monkeypatch.chdir(tmp_path)
    without(monkeypatch, module)
    code, _, err = run(capsys, "--param", "tau=0.1", *more)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert f"--extra {extra}" in err


def test_without_matplotlib_the_picture_is_left_out(capsys, monkeypatch, swept):
    directory, _ = swept
    without(monkeypatch, "matplotlib")
    code, out, _ = run(capsys, *GRID, "--logdir", directory)
    assert code == 0
    assert "no picture: sweep.png: needs matplotlib" in out
    assert "--extra plot" in out


@pytest.mark.parametrize("logdir", ["auto", "runs/counter-sweep"])
def test_a_run_is_no_sweep(capsys, monkeypatch, tmp_path, logdir):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "counter-sweep" / "checkpoints" / "32").mkdir(parents=True)
    code, _, err = run(capsys, "--param", "tau=0.1", "--logdir", logdir)
    assert code == 2
    assert "runs/counter-sweep': holds a run" in err


def test_usage_errors_come_before_jax(tmp_path):
    program = (
        "import sys\nfrom mjx_sac.cli import app\n"
        "try: app.main(['sweep', '--param', 'tau=0.1,2'])\n"
        "except SystemExit as stop: print(stop.code, 'jax' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert found.stdout.decode().split() == ["2", "False"]


def checkpoints(out):
    """Return when each checkpoint was written."""
    return {
        path: path.stat().st_mtime_ns for path in out.glob("*/checkpoints/*/state/manifest.json")
    }


def test_a_sweep_resumes_after_a_sigkill(tmp_path):
    """Killed while its second program trains: what was saved is not trained again."""
    out = tmp_path / "out"
    space = ["--param", "policy_lr=1e-3,3e-3,1e-2", "--population", "1"]
    process = sweep_process(out, *space, iterations=320, max_to_keep=99)
    while not steps(out / "part_1"):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = checkpoints(out)
    output, _ = sweep_process(out, *space, iterations=320, max_to_keep=99).communicate(timeout=300)
    assert "part_0" not in output
    assert before.items() <= checkpoints(out).items()
    found = json.loads((out / "sweep.json").read_text())
    assert [row["state"] for row in found["trials"]] == ["completed"] * 3
    assert found["agent_iterations"] == 3 * 320
