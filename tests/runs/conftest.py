"""A home for trackers."""

import shutil

import pytest
from helpers import trackers
from mlflow import MlflowClient


@pytest.fixture
def home(tmp_path, tables, monkeypatch):
    for name, value in trackers.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    shutil.copy(tables, tmp_path / "mlflow.db")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """MLflow's database without runs: it takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
