"""Training from Python: assemble a run, restore it, hand it to the loop."""

import contextlib
from collections.abc import Iterable

import jax

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.config import Config
from mjx_sac.envs.base import Environment, spaces
from mjx_sac.envs.host.protocol import HostEnvironment
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.runs import checkpoint, provenance, resolve
from mjx_sac.runs import directory as directories
from mjx_sac.runs.checkpoint import Checkpoints
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.epoch import Experiment, RunState, make_experiment
from mjx_sac.training.host import processes
from mjx_sac.training.host.compile import Programs, without_garbage_collection
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.interrupt import Interrupt
from mjx_sac.training.host.loop import Callback, Loop, Result
from mjx_sac.training.host.monitor import Monitor


def train(
    config: Config | Run,
    *,
    losses: Losses | None = None,
    networks: Networks | None = None,
    env: Environment | HostEnvironment | None = None,
    callbacks: Iterable[Callback] = (),
    overwrite: bool = False,
    fallback: bool = False,
) -> Result:
    """Train as `config` says, resuming the run in its directory where there is one.

    Args:
      config: hyperparameters, or the run that they are attached to already;
        `resolve({"env": "ant"})` also reads the packaged ones.
      losses: the algorithm, by default what `config.losses` names, or soft actor-critic.
      networks: actor and critics, by default that algorithm's.
      env: the environment, by default the one that `config.env` names.
      callbacks: called after every epoch.
      overwrite: restart where a run exists.
      fallback: pass over newer checkpoints that are damaged.

    Returns:
      Final state and the last epoch's scalars.

    Raises:
      UsageError: the configuration cannot be trained, or does not fit the run it would resume.
      TrainingError: a loss or a parameter became non-finite, or a checkpoint cannot be written.
      KeyboardInterrupt: Ctrl-C or SIGTERM: at once before the first epoch, after it at the end of
        an epoch, which is saved.
    """
    run = config
    if isinstance(run, Config):
        run = resolve.attach(run, overwrite=overwrite, fallback=fallback, check_env=env is None)
    processes.start(run.config)
    primary = processes.primary()
    algorithm = loader.load(run.config)
    console = Console(run.config.iterations, run.config.num_agents, quiet=not primary)
    lock = directories.lock(run.directory) if primary else contextlib.nullcontext()
    with console, Interrupt(console) as interrupt, lock:
        if not overwrite and tuple(directories.steps(run.directory)) != run.steps:
            # Another process has saved there since; from now on nobody else can.
            run = resolve.attach(run.config, fallback=fallback, check_env=False)
        console.phase(f"building {run.config.env}")
        mesh = processes.set_up(run.config, run.latest)
        with without_garbage_collection():
            env = env or envs.make(run.config.env, run.config)
            networks = networks or algorithm.networks(run.config, env.action_size)
            experiment = make_experiment(run.config, env, networks, losses or algorithm.losses)
            programs = Programs(experiment, mesh)
        with contextlib.closing(experiment.episodes):
            run, state = checkpoint.resume(run, programs.shapes, programs.place, fallback)
            if primary:  # only now, when nothing can be refused any more
                damaged = [step for step in run.steps if run.latest and step > run.latest]
                directories.prepare(run.config, run.directory, overwrite, damaged)
            _announce(run, experiment, console)
            if state and (run.latest or 0) >= run.config.iterations:
                return Result(state, {}, experiment)
            return _loop(run, programs, console, interrupt, tuple(callbacks), state)


def _announce(run: Run, experiment: Experiment, console: Console) -> None:
    """Say what is resumed, and what has changed since."""
    if run.latest is None:
        return
    changes = "".join(f", {name} {old} -> {new}" for name, (old, new) in run.changed.items())
    fresh = "; the simulator starts new episodes" if experiment.episodes.on_host else ""
    console.message(f"resuming {run.directory} at {run.latest:,} iterations{changes}{fresh}")
    if run.edited:
        console.message(
            f"{run.config.losses} has changed since {run.directory} was saved: "
            f"training continues with what it says now"
        )


def _loop(
    run: Run,
    programs: Programs,
    console: Console,
    interrupt: Interrupt,
    callbacks: tuple[Callback, ...],
    state: RunState | None,
) -> Result:
    """Open what the loop writes to, and train."""
    config, episodes = run.config, programs.experiment.episodes
    primary = processes.primary()
    header = {**provenance.description(config), "spaces": spaces(episodes.env)}
    checkpoints = Checkpoints(
        run.directory, config.max_to_keep, header, fetch=sharding.fetch, writes=primary
    )
    monitor = Monitor(run, console.message, primary)
    programs.start()
    loop = Loop(run, programs, checkpoints, monitor, console, interrupt, callbacks)
    try:
        return loop.train(state)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # A ValueError where an exchange between CPUs fails.
        raise episodes.failure or processes.lost(error) or error from None
    finally:
        monitor.close()
        checkpoints.close()
