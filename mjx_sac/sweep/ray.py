"""A sweep's jobs on the workers of a Ray cluster (extra `ray`), on this machine or on several.

All machines must see the sweep's directory and have mjx-sac installed. A job whose worker died is
retried on another, and resumes from its checkpoint.
"""

# pyright: basic
import contextlib
import os
import pathlib
import socket
from collections.abc import Sequence
from typing import Any

from mjx_sac.config import TrainingError, UsageError, require, surroundings
from mjx_sac.sweep import job as jobs
from mjx_sac.sweep.job import Job, Outcome
from mjx_sac.sweep.sweep import Done, Execute
from mjx_sac.training.host.console import print_line


def check(address: str) -> None:
    """Raise UsageError where Ray is missing or nobody answers: Ray itself would abort."""
    require(["ray"], "ray", f"ray = {address!r}")
    if address in ("local", "auto"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        way_out = "write local, auto, HOST:PORT (6379 as a rule) or ray://HOST:PORT"
        raise UsageError(f"ray = {address!r}: no address: {way_out}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        way_out = "start a cluster with `ray start --head`"
        raise UsageError(f"ray = {address!r}: nobody answers ({error}): {way_out}") from None


def executor(address: str, workers: int, metric: str, losses: Any) -> Execute:
    """Return what trains jobs on the workers at `address`, or on local ones that it starts."""
    here = os.getcwd()

    def execute(todo: Sequence[Job], done: Done) -> None:
        ray: Any = _connect(address, workers) if todo else None
        waiting, running, errors = [*todo], {}, []
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                print_line(f"{job.describe()}, by a worker")
                gpus = min(1, ray.cluster_resources().get("GPU", 0))
                how = {"max_retries": 2, "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
                task = ray.remote(_train).options(**how)
                running[task.remote(job, metric, losses, here)] = job
            (first,), _ = ray.wait([*running])
            job = running.pop(first)
            try:
                outcome = ray.get(first)
                if not pathlib.Path(job.config.run_dir).is_dir():
                    problem = "a worker trained there, and it is not here: name one that all see"
                    raise UsageError(f"logdir = {job.config.run_dir!r}: {problem}")
            except (ray.exceptions.RayError, UsageError) as error:
                last = str(error).strip().splitlines()[-1]
                lost = TrainingError(f"{job.name}: a worker of Ray's failed: {last}")
                cause = getattr(error, "cause", error)
                errors.append(cause if isinstance(cause, UsageError | TrainingError) else lost)
                continue
            done(job, outcome)
            print_line(f"{job.name}: done in {outcome.seconds:,.0f} s")
        if errors:  # only now that the others are recorded
            raise errors[0]

    return execute


def _connect(address: str, workers: int) -> Any:
    # Ray would copy the directory we are in, runs and all, to every machine; and count its users.
    for name in ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_USAGE_STATS_ENABLED"):
        os.environ.setdefault(name, "0")
    import ray

    more: Any = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        more |= {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False}
    if not ray.is_initialized():
        try:
            ray.init(address, **more)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"ray = {address!r}: {str(error).splitlines()[0]}") from None
    return ray


def _train(job: Job, metric: str, losses: Any, directory: str) -> Outcome:
    """Run in the worker, in the directory from which a user's modules are found."""
    with contextlib.suppress(OSError):
        os.chdir(directory)
    with surroundings.own_process():
        return jobs.run(job, metric, losses)
