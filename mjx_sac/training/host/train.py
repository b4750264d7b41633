"""Training from Python: assemble a run, restore it, hand it to the loop."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import Config, UsageError, ordinary_jax, staying, surroundings
from mjx_sac.envs.base import Environment
from mjx_sac.envs.episodes import callback_failure
from mjx_sac.envs.host.protocol import HostEnvironment, leave_if_started_again
from mjx_sac.envs.spaces import spaces
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.runs import checkpoint, dataset, provenance, resolve
from mjx_sac.runs import directory as directories
from mjx_sac.runs.best import Best
from mjx_sac.runs.recorded import Recorded
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.experiment import Experiment, RunState, make_experiment
from mjx_sac.training.host import device, films, kept, processes
from mjx_sac.training.host.compile import Programs, options, without_garbage_collection
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.evaluation import Evaluation
from mjx_sac.training.host.interrupt import Interrupt
from mjx_sac.training.host.loop import Callback, Loop, Result
from mjx_sac.training.host.monitor import Monitor


@staying()
@processes.as_found()
@ordinary_jax()
def train(
    config: Config | Run,
    *,
    losses: Losses | None = None,
    networks: Networks | None = None,
    env: Environment | HostEnvironment | Callable[[], Any] | None = None,
    callbacks: Iterable[Callback] = (),
    overwrite: bool = False,
    fallback: bool = False,
) -> Result:
    """Train as `config` says, resuming the run in its directory where there is one.

    A program that calls this finds its process as it was: signal handlers, environment variables,
    loggers, JAX's configuration. What stays is what is read or imported once: JAX's devices, XLA's
    flags, the user's modules and their place on `sys.path`. Settings of JAX's under which a run
    would be another, such as `jax_enable_x64`, do not reach it or its callbacks. `random` and
    NumPy's global generator are the program's to seed, if an environment draws from them.

    Args:
      config: hyperparameters, or the run that they are attached to already;
        `resolve({"env": "ant"})` also reads the packaged ones.
      losses: by default those of the algorithm that `config.algorithm` names.
      networks: actor and critics, by default that algorithm's.
      env: the environment, by default the one that `config.env` names. One of Gymnasium's is
        needed many times: pass what makes it, such as `lambda: gymnasium.make("Pendulum-v1")`.
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
    leave_if_started_again()
    run = config
    if isinstance(run, Config):
        run = resolve.attach(run, overwrite=overwrite, fallback=fallback, check_env=env is None)
    surroundings.seed_generators(run.config.seed, run.latest or 0)
    processes.start(run.config)
    given: dict[str, Any] = {"losses": losses, "networks": networks and (lambda *_: networks)}
    algorithm = loader.load(run.config)._replace(**{k: x for k, x in given.items() if x})
    console = Console(run.config.iterations, run.config.num_agents, quiet=not processes.primary())
    lock = directories.lock(run.directory) if processes.primary() else contextlib.nullcontext()
    with console, Interrupt(console) as interrupt, lock:
        if not overwrite and tuple(directories.steps(run.directory)) != run.steps:
            # Another process has saved there since; from now on nobody else can.
            run = resolve.attach(run.config, fallback=fallback, check_env=False)
        named = env is None and networks is None
        programs = _assemble(run, console, algorithm, env, named and losses is None)
        with contextlib.closing(programs.experiment.episodes) as episodes, ordinary_jax():
            run = films.possible(run, episodes.env, console.message, named=named)
            run, state = _begin(run, programs, console, overwrite, fallback)
            if state and run.finished:
                return Result(state, {}, programs.experiment)
            return _loop(run, programs, console, interrupt, tuple(callbacks), state)


def _assemble(run: Run, console: Console, algorithm: Algorithm, env: Any, named: bool) -> Programs:
    """Read the data set, make the environment, check that they fit the run, and build on them.

    `named` says whether `config` names all that is trained: nothing else was handed over.
    """
    recorded = _read_dataset(run, console)
    console.phase(f"building {run.config.env}")
    mesh = processes.set_up(run.config, run.latest)
    early = kept.begin(run.config, options()) if named else None
    with without_garbage_collection():
        env = envs.adapt(env, run.config)
        resolve.check_environment(run, getattr(env, "env_config", None))
        if recorded and run.config.dataset:
            recorded.check(run.config.dataset, env.observation_size, spaces(env))
        with ordinary_jax():  # again, here and below: the environment's modules may have changed it
            networks = algorithm.networks(run.config, env.action_size)
            experiment = make_experiment(run.config, env, networks, algorithm)
            return Programs(experiment, mesh, recorded, early, run.latest is None)


def _read_dataset(run: Run, console: Console) -> Recorded | None:
    """Return the run's data set, which must be the one that it began with; None without any."""
    name = run.config.dataset
    if name is None:
        _check_unchanged(run, None)
        return None
    console.phase(f"reading {name}")
    recorded = dataset.read(name)
    _check_unchanged(run, recorded.sha256())
    episodes, mean = len(recorded.whole), recorded.mean_return()
    count = f"{len(recorded.row):,} transitions of {episodes:,} episodes"
    console.message(f"{name}: {count}, mean return {mean:,.1f}")
    return recorded


def _check_unchanged(run: Run, now: str | None) -> None:
    """Raise UsageError where the run to resume began with other data than those of this SHA-256."""
    then = (run.manifest or {}).get("dataset_sha256")
    if run.latest is None or then == now:
        return
    began = f"with data of SHA-256 {then[:12]}" if then else "without a data set"
    problem = f"{run.config.run_dir} began {began}, not {now[:12] if now else 'without'}"
    name = f"dataset = {run.config.dataset!r}"
    raise UsageError(f"{name}: {problem}: give it the same, {directories.OTHERWISE}")


def _own(programs: Programs) -> dict[str, Any]:
    """Return what is of this run alone, see `provenance.description`."""
    env, recorded = programs.experiment.episodes.env, programs.recorded
    own = {
        "env_config": getattr(env, "env_config", None),
        "dataset_sha256": recorded.sha256() if recorded else None,
    }
    return {name: value for name, value in own.items() if value is not None}


def _begin(
    run: Run, programs: Programs, console: Console, overwrite: bool, fallback: bool
) -> tuple[Run, RunState | None]:
    """Restore what is there and, unless that is finished, make way for what is not."""
    _check_views(run, spaces(programs.experiment.episodes.env))
    run, state = checkpoint.resume(run, programs.shapes.saved, programs.place, fallback)
    if state and programs.recorded:
        state = programs.with_dataset(state)
    if state and run.finished:
        console.message(f"{run.config.run_dir} is finished: {run.finished}")
        return run, state
    if processes.primary():  # only now, when nothing can be refused any more
        if overwrite:
            directories.clear(run.directory)
        damaged = [step for step in run.steps if run.latest and step > run.latest]
        directories.set_aside(run.directory, damaged)
        directories.write_kwargs(run.config, run.directory, run.latest or 0, _own(programs))
    _announce(run, programs.experiment, console)
    return run, state


def _check_views(run: Run, now: Mapping[str, Any]) -> None:
    """Raise UsageError where observations are laid out otherwise than in the run to resume."""
    then = (run.manifest or {}).get("spaces")
    if then and then.get("views") != now.get("views"):
        problem = f"{run.config.run_dir} was trained with other parts of observations"
        way_out = "use the version of the environment that it was trained with"
        raise UsageError(f"env = {run.config.env!r}: {problem}: {way_out}, {directories.OTHERWISE}")


def _announce(run: Run, experiment: Experiment, console: Console) -> None:
    """Say what is not used, what is resumed, and what has changed since."""
    if surroundings.not_used:
        console.message(f"settings not used in a run: {', '.join(surroundings.not_used)}")
    if run.config.matmul_precision == "bfloat16" and device.multiplies_bfloat16() is False:
        console.message(device.NO_BFLOAT16)
    if run.latest is None:
        if run.config.from_run:
            console.message(f"beginning with the networks of {run.config.from_run}")
        return
    changes = "".join(f", {name} {old} -> {new}" for name, (old, new) in run.changed.items())
    on_host = experiment.episodes.on_host and not run.config.offline
    fresh = "; the simulator starts new episodes" if on_host else ""
    where = run.config.run_dir
    console.message(f"resuming {where} at {run.latest:,} iterations{changes}{fresh}")
    if run.edited:
        console.message(
            f"{run.config.algorithm} has changed since {where} was saved: "
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
    described = provenance.description(config, _own(programs))
    header = {**described, "spaces": spaces(episodes.env)}
    checkpoints = checkpoint.Checkpoints(
        run.directory, config.max_to_keep, header, fetch=sharding.fetch, writes=primary
    )
    facts = {k: x for k, x in described.items() if k != "config"}
    facts["command"] = shlex.join(sys.argv)
    try:
        monitor = Monitor(run, console.message, primary, facts)
        with monitor, films.Films(run, header, monitor, console.message) as filmed:
            programs.start()
            best = Best(run, header, console.message) if primary else None
            evaluation = Evaluation(run, programs, monitor, console, best)
            own = programs, checkpoints, monitor, console, interrupt, callbacks, evaluation, filmed
            return Loop(run, *own).train(state)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # A ValueError where an exchange between CPUs fails.
        ours = episodes.failure or callback_failure(error) or processes.lost(error)
        raise ours or error from None
    finally:
        checkpoints.close()
