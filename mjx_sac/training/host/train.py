"""Training from Python: assemble a run, restore it, hand it to the loop."""

import contextlib
from collections.abc import Iterable

import jax
from jax.sharding import Mesh

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.algorithms.loader import Algorithm
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.base import Environment, spaces
from mjx_sac.envs.host.protocol import HostEnvironment
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.runs import array_store, provenance, resolve
from mjx_sac.runs import directory as directories
from mjx_sac.runs.checkpoint import Checkpoints, restore
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import population, sharding
from mjx_sac.training.compiled.epoch import Experiment, RunState, make_experiment
from mjx_sac.training.host import device, memory, processes
from mjx_sac.training.host.compile import Programs, check_losses, without_garbage_collection
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.interrupt import Interrupt
from mjx_sac.training.host.loop import Callback, Loop, Result
from mjx_sac.training.host.monitor import Monitor
from mjx_sac.types import named_leaves


def train(
    config: Config,
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
      config: hyperparameters; `resolve({"env": "ant"})` also reads the packaged ones.
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
    run = resolve.attach(config, overwrite=overwrite, fallback=fallback, check_env=env is None)
    return train_run(
        run,
        losses=losses,
        networks=networks,
        env=env,
        callbacks=callbacks,
        overwrite=overwrite,
        fallback=fallback,
    )


def train_run(
    run: Run,
    *,
    losses: Losses | None = None,
    networks: Networks | None = None,
    env: Environment | HostEnvironment | None = None,
    callbacks: Iterable[Callback] = (),
    overwrite: bool = False,
    fallback: bool = False,
) -> Result:
    """`train` for a configuration that is attached to its run already."""
    config = run.config
    processes.start(config)
    primary = processes.primary()
    algorithm = loader.load(config)
    algorithm = algorithm._replace(losses=losses or algorithm.losses)
    lock = directories.lock(run.directory) if primary else contextlib.nullcontext()
    with (
        Console(config.iterations, config.num_agents, quiet=not primary) as console,
        Interrupt(console) as interrupt,
        lock,
    ):
        if not overwrite and tuple(directories.steps(run.directory)) != run.steps:
            # Another process has saved there since; from now on nobody else can.
            run = resolve.attach(config, fallback=fallback, check_env=False)
        console.phase(f"building {config.env}")
        local = None if processes.joined() else config.num_devices
        device.set_up(config.device, config.deterministic, local)
        processes.check_same_run(run.latest)
        mesh = processes.mesh(config)
        with without_garbage_collection():
            experiment = _build(config, algorithm, env, networks)
            init = population.init(experiment, mesh)
            shapes = jax.eval_shape(init)
            _check_devices(experiment, shapes, mesh)
            lowered = population.lower(experiment, shapes, mesh)
        run, state = _restore(run, experiment, shapes, mesh, fallback)
        if primary:
            _prepare_directory(run, overwrite)
        _announce(run, experiment, console)
        checkpoints = _checkpoints(run, experiment, primary)
        iterations = run.latest or 0
        monitor = Monitor(run.directory, config, iterations, console.message, primary)
        try:
            if state and iterations >= config.iterations:
                return Result(state, {}, experiment)
            programs = Programs(experiment, lowered, shapes)
            loop = Loop(
                run,
                experiment,
                programs,
                checkpoints,
                monitor,
                console,
                interrupt,
                list(callbacks),
                primary,
            )
            return loop.train(state or init)
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            # A ValueError where an exchange between CPUs fails.
            raise experiment.episodes.failure or processes.lost(error) or error from None
        finally:
            experiment.episodes.close()
            monitor.close()
            checkpoints.close()


def _build(
    config: Config,
    algorithm: Algorithm,
    env: Environment | HostEnvironment | None,
    networks: Networks | None,
) -> Experiment:
    """Put environment, networks and losses together.

    Raises:
      UsageError: one of them cannot be made, or a user's loss does not trace.
    """
    env = env or envs.make(config.env, config)
    networks = networks or algorithm.networks(config, env.action_size)
    experiment = make_experiment(config, env, networks, algorithm.losses)
    check_losses(experiment)
    return experiment


def _check_devices(experiment: Experiment, shapes: RunState, mesh: Mesh | None) -> None:
    """Raise UsageError where the devices cannot hold the run."""
    size = mesh.size if mesh else 1
    if size > 1 and experiment.episodes.on_host:
        raise UsageError(
            f"num_devices = {size}: an environment on the host cannot be shared by several "
            f"devices: train on one, or train an environment in JAX"
        )
    first = jax.devices()[0]
    holders = jax.process_count() if first.platform == "cpu" else size
    memory.check(experiment.config, shapes, first, holders)


def _restore(
    run: Run, experiment: Experiment, shapes: RunState, mesh: Mesh | None, fallback: bool
) -> tuple[Run, RunState | None]:
    """Return the state to resume from, None where the run begins, and the run it belongs to.

    With `fallback` that is the newest checkpoint of which every file is whole.
    """
    where = {}
    if mesh:
        specs = jax.tree.broadcast(population.shardings(experiment, mesh), shapes)
        where = dict(named_leaves(specs))
    while run.latest is not None:
        try:
            place = lambda name, x: sharding.place(x, where.get(name))  # noqa: E731
            return run, restore(run.directory, run.latest, shapes, place, run.manifest)
        except array_store.DamagedError as error:
            if not fallback:
                raise resolve.damaged(error) from None
            older = resolve.newest(run.directory, fallback=True, before=run.latest)
            run = resolve.attach_at(run.config, *older, check_env=False)
    return run, None


def _prepare_directory(run: Run, overwrite: bool) -> None:
    """Clear or mark what an older run left; only now, when nothing can be refused any more."""
    if overwrite:
        directories.clear(run.directory)
    newer = [step for step in run.steps if run.latest is not None and step > run.latest]
    directories.set_aside(run.directory, newer)
    directories.write_kwargs(run.config, run.directory)


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


def _checkpoints(run: Run, experiment: Experiment, writes: bool) -> Checkpoints:
    """Return where the run's states go."""
    header = {**provenance.description(run.config), "spaces": spaces(experiment.episodes.env)}
    keep = run.config.max_to_keep
    return Checkpoints(run.directory, keep, header, fetch=sharding.fetch, writes=writes)
