"""Sweeps in which nothing is trained, and sweeps in a process of their own."""

import pathlib
import subprocess
import sys

from helpers.runs import COUNTER, flags, make_config
from mjx_sac.sweep import space, sweep
from mjx_sac.sweep.job import Outcome


def make_plan(directory, *params, iterations=320, num_seeds=1, **how):
    base = make_config(logdir=str(directory), iterations=iterations, num_seeds=num_seeds)
    return sweep.Plan(base, space.parse(params, base, ()), **how)


def play(plan, *, score=lambda config: config.tau, stop_after=None):
    """Return the sweep, with every agent's score made up from its configuration, and its jobs.

    `stop_after` so many jobs it is interrupted.
    """
    executed = []

    def execute(todo, done):
        for job in todo:
            if len(executed) == stop_after:
                raise KeyboardInterrupt
            executed.append(job)
            done(job, Outcome([score(agent) for agent in job.config.population()], 1.0))

    plan.directory.mkdir(exist_ok=True, parents=True)
    played = sweep.Sweep(plan)
    try:
        played.run(execute)
    except KeyboardInterrupt:
        assert stop_after is not None
    return played, executed


def sweep_process(out, *arguments, **overrides):
    """Start the command, in the directory from which other processes find the environment."""
    command = ["-m", "mjx_sac", "sweep", *flags(env=COUNTER, **overrides), "--logdir", str(out)]
    return subprocess.Popen(
        [sys.executable, *command, *arguments],
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
