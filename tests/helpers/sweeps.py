"""Sweeps in which nothing is trained: every agent's score is made up from its configuration."""

from helpers.runs import make_config
from mjx_sac.sweep import space, sweep
from mjx_sac.sweep.job import Outcome


def make_plan(directory, *params, iterations=320, num_seeds=1, **how):
    base = make_config(logdir=str(directory), iterations=iterations, num_seeds=num_seeds)
    return sweep.Plan(base, space.parse(params, base, ()), **how)


def play(plan, *, score=lambda config: config.tau, stop_after=None):
    """Return the sweep and the jobs that were executed, all or up to a Ctrl-C."""
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
