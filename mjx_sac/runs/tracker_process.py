"""A tracker in a process of its own, which `tracking.py` starts.

It imports nothing of this package, and answers each message, all JSON: `say` has lines for the
user, `error` what went wrong. `tracking/NAME.json` keeps each run's id, and up to which iterations
it is logged: no tracker can rewind, so a run that returns to an earlier checkpoint leaves the tail
as it is, and is logged again from where that ended.
"""

# pyright: basic
import contextlib
import contextvars
import fcntl
import json
import os
import re
import signal
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PROJECT = "mjx-sac"
ALONE_SECONDS = 30
"""How long it may take to finish when training's process is gone."""


class Tracker:
    """What all have: `say`, lines for the user, and `where` runs are kept.

    `begin` returns the id of a run, `old` where there is one, and the run, of which `log` takes
    scalars by tag, `film` a GIF, and `finish` how it ended: finished, failed or killed.
    """

    def __init__(self, directory: Path, home: Path, where: str, seconds: float) -> None:
        """Open it. Arguments are the run's directory, that of all in its group, where its runs
        were kept before, and how long to wait for a server.
        """
        self.directory, self.home, self.where, self.seconds = directory, home, where, seconds
        self.say: list[str] = []
        self.open()

    def answers(self, url: str, otherwise: str) -> bool:
        """Return whether a server answers, be it with an error; `otherwise` is said if not."""
        try:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(url, timeout=self.seconds).close()
        except OSError as error:
            self.say.append(f"warning: {otherwise}, as {url} does not answer ({error})")
            return False
        return True

    def open(self) -> None: ...

    def log(self, run: Any, iterations: int, metrics: Mapping[str, float]) -> None:
        run.log(metrics, step=iterations)


class Wandb(Tracker):
    """Weights & Biases: online, or offline where no server answers or nobody is logged in.

    A run that began offline stays so: its parts are uploaded in their order.
    """

    def open(self) -> None:
        import wandb

        self.wandb, self.parts = wandb, f"{self.directory}/wandb/offline-run-*"
        self.where = os.environ.get("WANDB_MODE") or self.where or "online"
        url = wandb.setup().settings.base_url
        if self.where == "online" and not self.answers(url, f"offline into {self.parts}"):
            self.where = "offline"

    def begin(self, old: str | None, about: Mapping[str, Any], first: bool) -> tuple[str, Any]:
        settings = self.wandb.Settings(
            **{"init_timeout": 30, "x_disable_stats": not first, "x_stats_pid": os.getppid()},
            **{"console": "off", "disable_git": True, "x_disable_meta": True},  # this process's
        )
        values = {
            **{"id": old or uuid.uuid4().hex[:12], "resume": "allow", "reinit": "create_new"},
            **{"name": about["name"], "group": about["group"], "dir": self.directory},
            **{"project": os.environ.get("WANDB_PROJECT", PROJECT), "settings": settings},
        }
        try:
            run = self.wandb.init(mode=self.where, **values)
        except Exception as error:
            if not first or self.where != "online":
                raise
            self.where = "offline"
            run = self.wandb.init(mode=self.where, **values)
            self.say.append(f"warning: offline into {self.parts}: {one_line(error)}")
        run.config.update({**about["config"], **about["facts"]}, allow_val_change=True)
        self.say += [run.url or f"`wandb sync {self.parts}` uploads it"] if first else []
        return values["id"], run

    def film(self, run: Any, iterations: int, path: str) -> None:
        # Without a step, for a later one may be there already, and W&B refuses what comes before.
        caption = f"{iterations} iterations"
        run.log({"film": self.wandb.Video(path, caption=caption, format="gif")})

    def finish(self, run: Any, status: str) -> None:
        run.finish(exit_code=int(status != "finished"))


class Trackio(Tracker):
    """Trackio: on this machine, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say."""

    def open(self) -> None:
        import trackio

        self.trackio, self.problems = trackio, list[str]()
        # What it could not write it only warns of.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = self.note
        self.say.append(f"`trackio show --project {PROJECT}` shows it")

    def note(self, message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        """Keep a warning, to be raised when the next scalars come."""
        print(message, file=sys.stderr)
        self.problems += [str(message)] if category is UserWarning else []

    def begin(self, old: str | None, about: Mapping[str, Any], first: bool) -> tuple[str, Any]:
        name = old or f"{about['name']}-{uuid.uuid4().hex[:6]}"  # which identifies it
        config, monitored = {**about["config"], **about["facts"]}, None if first else False
        values = {"group": about["group"], "config": config, "resume": "allow", "embed": False}
        values |= {"auto_log_gpu": monitored, "auto_log_cpu": monitored}
        # In a context of its own: it would end the run before it.
        return name, contextvars.Context().run(self.trackio.init, PROJECT, name, **values)

    def log(self, run: Any, iterations: int, metrics: Mapping[str, float]) -> None:
        run.log(metrics, step=iterations)
        if self.problems:
            raise RuntimeError(self.problems.pop())

    def film(self, run: Any, iterations: int, path: str) -> None:
        # Its page plays an image; what shows videos there plays no GIF.
        run.log({"film": self.trackio.Image(path)}, step=iterations)

    def finish(self, run: Any, status: str) -> None:
        run.finish()


class Mlflow(Tracker):
    """MLflow: where MLFLOW_TRACKING_URI says, or in `mlflow.db` beside the run or the sweep.

    A run stays where it began, also in `mlflow.db` because the server did not answer then.
    """

    def open(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(round(self.seconds)))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        local = f"sqlite:///{self.home.parent}/mlflow.db"
        self.where = self.where or os.environ.get("MLFLOW_TRACKING_URI", local)
        remote = self.where.startswith("http")
        if remote and not self.answers(self.where, f"into {local}"):
            remote, self.where = False, local
        import mlflow

        self.mlflow, self.client = mlflow, mlflow.MlflowClient(self.where)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        files = None if remote else (self.home.parent / "mlartifacts").as_uri()
        self.experiment: Any = found and found.experiment_id
        self.experiment = self.experiment or self.client.create_experiment(name, files)
        command = f"mlflow ui --backend-store-uri {self.where}"
        self.say.append(f"`{command}` shows it, under Model training")

    def begin(self, old: str | None, about: Mapping[str, Any], first: bool) -> tuple[str, Any]:
        params, known = dict(flat(about["config"])), dict[str, str]()
        tags = dict(flat({**about["facts"], "group": about["group"] or ""}))
        if old:
            known = self.client.get_run(old).data.params
            self.client.update_run(old, status="RUNNING")
            # Parameters cannot change.
            tags |= {k: x for k, x in params.items() if known.get(k, x) != x}
        named = {"run_name": about["name"]}
        id = old or self.client.create_run(self.experiment, **named).info.run_id
        new = [self.mlflow.entities.Param(k, x) for k, x in params.items() if k not in known]
        for i in range(0, len(new), 100):  # no more are taken at once
            self.client.log_batch(id, params=new[i : i + 100])
        for key, text in tags.items():
            self.client.set_tag(id, key, text)
        return id, id

    def log(self, run: Any, iterations: int, metrics: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        values = [(mlflow_name(tag), value, now, iterations) for tag, value in metrics.items()]
        metric = self.mlflow.entities.Metric
        self.client.log_batch(run, metrics=[metric(*each) for each in values])

    def film(self, run: Any, iterations: int, path: str) -> None:
        self.client.log_artifact(run, path, f"films/{iterations}")

    def finish(self, run: Any, status: str) -> None:
        self.client.set_terminated(run, status.upper())


def mlflow_name(tag: str) -> str:
    """Return a name as MLflow takes them."""
    return re.sub(r"[^\w\-. :/]", "_", tag)


def flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield `versions/jax` for what is nested, with texts as MLflow takes them."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield mlflow_name(f"{prefix}{key}"), str(value)[:500]


def one_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


KINDS: dict[str, type[Any]] = {"wandb": Wandb, "trackio": Trackio, "mlflow": Mlflow}


class Desk:
    """Does what messages say, and keeps a record of the runs in `path`."""

    def __init__(self, path: Path, name: str, directory: Path, home: Path, seconds: float) -> None:
        record: dict[str, Any] = {"where": "", "runs": {}}
        with contextlib.suppress(OSError, ValueError):
            record |= json.loads(path.read_text(encoding="utf-8"))
        self.path, self.runs, self.open = path, record["runs"], dict[str, Any]()
        self.tracker = KINDS[name](directory, home, record["where"], seconds)
        self.histogram: Any = getattr(sys.modules[name], "Histogram", None)

    def take(self, message: Mapping[str, Any]) -> None:
        """Do what a message says of the run of `agent`: begin, log, film or finish."""
        agent, tracker = message["agent"], self.tracker
        if "begin" in message:
            known = self.runs.setdefault(agent, {"id": None, "logged": 0})
            found = tracker.begin(known["id"], message["begin"], not self.open)
            known["id"], self.open[agent] = found
            self.write()
        elif agent not in self.open:
            pass  # it could not begin, which has been said
        elif "finish" in message:
            tracker.finish(self.open.pop(agent), message["finish"])
        else:
            what, done = ("film", "filmed") if "film" in message else ("log", "logged")
            if message["iterations"] > self.runs[agent].get(done, 0):
                self.runs[agent][done] = message["iterations"]
                self.write()  # before it is logged, so that nothing is twice
                value = self.shown(message["log"]) if what == "log" else message["film"]
                getattr(tracker, what)(self.open[agent], message["iterations"], value)

    def shown(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return metrics as the tracker takes them: without histograms, where it has none."""
        found = {tag: x for tag, x in metrics.items() if self.histogram or not isinstance(x, list)}
        pairs = {tag: x for tag, x in found.items() if isinstance(x, list)}
        return found | {tag: self.histogram(np_histogram=tuple(x)) for tag, x in pairs.items()}

    def write(self) -> None:
        """Write the record; a crash leaves the old one or the new one."""
        record = {"where": self.tracker.where, "runs": self.runs}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(self.path)


def serve(link: Connection, *where: Any) -> None:
    """Take messages until there are no more, or training's process is gone."""
    desk, parent, message = None, os.getppid(), dict[str, Any]()
    with contextlib.suppress(EOFError, OSError):
        while desk or not message:
            answer: dict[str, Any] = {}
            try:
                desk.take(message) if desk else (desk := Desk(*where))
            except Exception as error:
                traceback.print_exc()
                answer["error"] = one_line(error)
            if desk:
                answer["say"], desk.tracker.say = desk.tracker.say, []
            link.send_bytes(json.dumps(answer).encode())
            while not link.poll(5):  # somebody may have inherited the other end
                if os.getppid() != parent:
                    raise EOFError
            message = json.loads(link.recv_bytes())
    signal.alarm(ALONE_SECONDS)
    while desk and desk.open:
        desk.take({"agent": next(iter(desk.open)), "finish": "killed"})


if __name__ == "__main__":
    os.nice(5)
    name, number, directory, home, seconds = sys.argv[1:]
    path = Path(directory) / "tracking" / f"{name}.json"
    with path.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process of a run that was killed may still finish
        serve(Connection(int(number)), path, name, Path(directory), Path(home), float(seconds))
