"""What trackers have written, read back: each run's curves, group, configuration and end."""

import json
import pathlib
import sqlite3
import struct
import time
from typing import Any, NamedTuple

from helpers.runs import make_config
from mjx_sac.runs import tracking

TAG = "eval/mean_reward"
FACTS = {"git_commit": "abc123", "command": "mjx-sac train", "versions": {"jax": "0.10.2"}}


class Tracked(NamedTuple):
    """A tracked run; `points` are (tag, iterations, value) as often as they were logged."""

    id: str
    group: str | None
    config: dict[str, Any]
    points: list[tuple[str, int, float]]
    status: str | None = None

    def curves(self) -> dict[str, dict[int, float]]:
        """By tag, values by iterations; each of which may be there once."""
        assert len({point[:2] for point in self.points}) == len(self.points), "logged twice"
        curves: dict[str, dict[int, float]] = {}
        for tag, iterations, value in self.points:
            curves.setdefault(tag, {})[iterations] = value
        return curves


def environment(home: pathlib.Path) -> dict[str, str]:
    """Return variables under which trackers keep what they have in `home`, without a network."""
    return {
        "HOME": str(home),
        "TRACKIO_DIR": str(home / "trackio"),
        "WANDB_MODE": "offline",
        "WANDB_CONFIG_DIR": str(home / "wandb-config"),
        "WANDB_CACHE_DIR": str(home / "wandb-cache"),
        "WANDB_DATA_DIR": str(home / "wandb-data"),
    }


def read(name: str, run: pathlib.Path, home: pathlib.Path) -> list[Tracked]:
    """Return the runs of the tracker `name`, of which the last began last."""
    if name == "wandb":
        return _wandb(run)
    return _trackio(home / "trackio" / "mjx-sac.db") if name == "trackio" else _mlflow(run)


def wandb_records(path: pathlib.Path):
    """Yield the records of a .wandb file: a header, and LevelDB's blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, start, parts = path.read_bytes(), 7, b""
    while start + 7 <= len(data):
        if (left := -start % 32768) and left < 7:
            start += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, start)
        parts += data[start + 7 : start + 7 + length]
        start += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def _wandb(run: pathlib.Path) -> list[Tracked]:
    found: dict[str, Tracked] = {}
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):  # by the time of their starts
        now = None
        for record in wandb_records(path):
            if record.HasField("run") and now is None:
                fresh = Tracked(record.run.run_id, record.run.run_group or None, {}, [])
                now = found.setdefault(fresh.id, fresh)
            if record.HasField("config"):
                for each in record.config.update:
                    now.config[each.key or each.nested_key[0]] = json.loads(each.value_json)
            if record.HasField("history"):
                items = {
                    each.key or "/".join(each.nested_key): json.loads(each.value_json)
                    for each in record.history.item
                }
                values = {k: x for k, x in items.items() if not k.startswith("_")}
                now.points.extend((k, items["_step"], x) for k, x in values.items())
            if record.HasField("exit"):
                now = found[now.id] = now._replace(status=str(record.exit.exit_code))
    return [*found.values()]


def _trackio(path: pathlib.Path) -> list[Tracked]:
    with sqlite3.connect(path) as base:
        rows = list(base.execute("select run_id, config from configs order by id"))
        logged = list(base.execute("select run_id, step, metrics from metrics order by id"))
    found = []
    for id, config in rows:
        of_run = [(step, json.loads(text)) for run, step, text in logged if run == id]
        points = [(tag, step, float(x)) for step, one in of_run for tag, x in one.items()
                  if isinstance(x, int | float | str)]  # fmt: skip
        config = json.loads(config)
        found.append(Tracked(id, config["_Group"], config, points))
    return found


def _mlflow(run: pathlib.Path) -> list[Tracked]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent}/mlflow.db")
    found = []
    for one in client.search_runs([client.get_experiment_by_name("mjx-sac").experiment_id]):
        histories = [client.get_metric_history(one.info.run_id, tag) for tag in one.data.metrics]
        points = [(m.key, m.step, m.value) for history in histories for m in history]
        config = {**one.data.params, **one.data.tags}
        group = config["group"] or None
        found.append(Tracked(one.info.run_id, group, config, points, one.info.status))
    return found[::-1]


class Tracking:
    """A tracker of a run in `run`, and the lines that it shows."""

    def __init__(self, name, run, **config):
        self.lines: list[str] = []
        self.config = make_config(logdir=str(run), track=name, **config)
        self.trackers = [tracking.Tracker(name, run, self.config, self.lines.append)]
        names = self.config.agent_names() or ("",)
        self.agents = [self.trackers[0].run(agent, FACTS) for agent in names]
        for agent, config in zip(self.agents, self.config.population(), strict=True):
            agent.hyperparameters(config.model_dump())

    def log(self, values):
        """Log values by iterations."""
        for iterations, value in values.items():
            for i, agent in enumerate(self.agents):
                agent.log(iterations, {TAG: value + i, "env/a,b": 0.5})

    def until(self, done, seconds=100):
        """Wait until `done()`."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def drained(self):
        return self.trackers[0]._queue.empty()

    def close(self, status="finished"):
        for agent in self.agents:
            agent.close(status)
        tracking.close(self.trackers)

    @property
    def warnings(self):
        return [line for line in self.lines if line.startswith("warning")]
