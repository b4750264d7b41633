"""A sweep's jobs on Ray Tune (extra `ray`): each is a trial of Tune's, in a process of its own on any machine of a cluster.

Ray Tune gives out the work, watches over it, and starts a job again whose worker has died: it goes on from its checkpoint. What to
try next is up to `sweep.py`. All machines must see the sweep's directory, and have mjx-sac installed.
"""

# pyright: basic
import contextlib
import importlib.util
import logging
import os
import pathlib
import socket
from collections.abc import Sequence
from typing import Any

from mjx_sac.config import TrainingError, UsageError
from mjx_sac.sweep import job as jobs
from mjx_sac.sweep.job import Job
from mjx_sac.sweep.sweep import Done, Execute, Plan, describe
from mjx_sac.training.host.console import print_line

_RESTARTS = 2
"""Of a job whose worker has died."""

_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would copy the directory we are in, runs and all, to every machine
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a user's modules are found from the directory we are in
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
}


def check(address: str) -> None:
    """Refuses, without importing Ray, where it is not installed, and an address at which nobody answers: Ray itself would abort.

    Raises:
      UsageError: one line with the way out.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            f"ray = {address!r}: needs Ray Tune: install the extra, as in `uv run --extra ray mjx-sac ...`"
        )
    if address in ("local", "auto"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        raise UsageError(
            f"ray = {address!r}: no address: write local, auto, HOST:PORT (6379 as a rule) or ray://HOST:PORT"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"ray = {address!r}: nobody answers ({error}): start a cluster with `ray start --head`"
        ) from None


def executor(plan: Plan, address: str, losses: Any) -> Execute:
    """Trains jobs on the workers of the cluster at `address`, or on local ones that are started when there is work."""

    def execute(todo: Sequence[Job], done: Done) -> None:
        if todo:
            _connect(address, plan.workers)
            for one in todo:
                print_line(f"{one.name}: {describe(one)}, by {plan.workers} workers")
            _fit(
                [_absolute(one) for one in todo],
                plan,
                losses,
                lambda i, outcome: done(todo[i], outcome),
            )

    return execute


def _connect(address: str, workers: int) -> None:
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        return

    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        how |= {
            "address": "local",
            "num_cpus": max(workers, os.cpu_count() or 1),
            "include_dashboard": False,
        }
    else:
        how |= {"address": address}
    try:
        ray.init(**how)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"ray = {address!r}: {str(error).partition(chr(10))[0]}") from None


def _absolute(one: Job) -> Job:
    """A worker may have been started elsewhere."""
    config = one.config.model_copy(update={"logdir": os.path.abspath(one.config.run_dir)})
    return one._replace(config=config, parent=one.parent and os.path.abspath(one.parent))


def _fit(todo: list[Job], plan: Plan, losses: Any, done: Any) -> None:
    import ray
    from ray import tune

    errors: list[Exception] = []

    class Tell(tune.Callback):
        """A job is written down when it is finished, not when all are."""

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            if "outcome" in result:
                outcome, i = jobs.from_json(result["outcome"]), result["config"]["job"]
                done(i, outcome)
                print_line(f"{todo[i].name}: done by {outcome.process} in {outcome.seconds:,.0f} s")
            else:
                errors.append(
                    (UsageError if result["kind"] == "UsageError" else TrainingError)(
                        result["message"]
                    )
                )

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            print_line(f"{todo[trial.config['job']].name}: its worker has died; another goes on")

    logging.getLogger("ray.tune").setLevel(
        logging.CRITICAL
    )  # it would show the dead worker's traceback
    there = ray.cluster_resources()
    share: dict[str, float] = {
        "cpu": max(1, there.get("CPU", 1) // plan.workers),
        "gpu": min(1, there.get("GPU", 0)),
    }
    trainable: Any = tune.with_parameters(
        _train, jobs_=todo, metric=plan.metric, losses=losses, directory=os.getcwd()
    )
    results = tune.Tuner(
        tune.with_resources(trainable, share),
        param_space={"job": tune.grid_search([*range(len(todo))])},
        tune_config=tune.TuneConfig(max_concurrent_trials=plan.workers),
        run_config=tune.RunConfig(
            storage_path=str(plan.directory.absolute() / "ray"),
            verbose=0,
            callbacks=[Tell()],
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
        ),
    ).fit()
    for result in results:
        if result.error:
            errors.append(
                TrainingError(
                    f"a worker of Ray's failed: {str(result.error).strip().splitlines()[-1]}"
                )
            )
    if errors:
        raise errors[0]
    missing = next((one for one in todo if not pathlib.Path(one.config.run_dir).is_dir()), None)
    if missing:
        raise UsageError(
            f"logdir = {missing.config.run_dir!r}: a worker trained there, and it is not here: name one that all machines see"
        )


def _train(
    config: dict[str, Any], *, jobs_: list[Job], metric: str, losses: Any, directory: str
) -> None:
    """In the worker. What goes wrong in a way that we know is told, or Tune would try it again."""
    from ray import tune

    with contextlib.suppress(OSError):
        os.chdir(directory)
    try:
        tune.report({"outcome": jobs.to_json(jobs.run(jobs_[config["job"]], metric, losses))})
    except (UsageError, TrainingError) as error:
        tune.report({"kind": type(error).__name__, "message": str(error)})
