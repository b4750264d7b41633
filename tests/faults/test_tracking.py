"""A tracked run that is killed, and resumed: real processes and the real trackers."""

import json
import shutil
import signal

import pytest
from helpers import trackers
from helpers.evidence import curves
from mlflow import MlflowClient

from mjx_sac.config.validation import TRACKERS
from mjx_sac.runs.directory import steps

pytestmark = pytest.mark.slow


def test_a_killed_run_resumes_its_tracked_runs(run, tmp_path):
    """Killed at 128 iterations, its checkpoint at 64; what it lost it computes again, and alike."""
    logdir, home = tmp_path / "run", tmp_path / "home"
    home.mkdir()
    MlflowClient(f"sqlite:///{home}/mlflow.db").search_experiments()  # its tables
    shutil.copy(home / "mlflow.db", tmp_path)
    settings = {"checkpoint_interval": 64, "iterations": 160, "track": ",".join(TRACKERS)}
    fault = {"signal": signal.SIGKILL, "phase": "saving", "nth": 2, "tracked": 128}
    environment = trackers.environment(home)
    assert run(logdir, fault, environment=environment, **settings)[0] == -signal.SIGKILL
    assert steps(logdir) == [64]
    code, out, _, err = run(logdir, environment=environment, **settings)
    assert code == 0, err
    assert "resuming" in out
    assert "warning" not in out
    expected = {tag: dict(points) for tag, points in curves(logdir).items()}
    assert [*expected["replay/size"]] == [32, 64, 96, 128, 160]
    for name in TRACKERS:
        (found,) = trackers.read(name, logdir, home)
        logged = found.curves()
        assert [*logged["time/fps"]] == [32, 64, 96, 128, 160]
        for tag, curve in expected.items():
            # An event file has 32 bits of a number.
            assert logged[tag] == pytest.approx(curve, rel=1e-6), (name, tag)
        assert "faulty_training.py" in found.config["command"], name
        assert (
            found.config["git_commit"]
            == json.loads((logdir / "kwargs.json").read_text())["git_commit"]
        )
        assert found.status == {"wandb": "0", "mlflow": "FINISHED"}.get(name)
