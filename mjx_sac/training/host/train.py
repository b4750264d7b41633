"""Training from Python: the host's loop around the compiled epoch."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Lowered

from mjx_sac import algorithm, compilation, envs, exchanges, memory, population, processes, rundir, trainer
from mjx_sac.algorithm import Algorithm
from mjx_sac.checkpoint import Checkpoints
from mjx_sac.config import Config, UsageError
from mjx_sac.console import Console
from mjx_sac.envs.base import Environment, spaces
from mjx_sac.envs.simulator import HostEnvironment
from mjx_sac.interrupt import Interrupt
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.programs import Programs
from mjx_sac.report import Report, scalars
from mjx_sac.trainer import Agent, RunState


class Result(NamedTuple):
    """What `train` returns.

    Attributes:
      state: the final state; of a population, every array but `warm_up_left` has an axis of agents in front.
      metrics: the scalars of the last epoch; of a population, an array of them for each.
      agent: what is needed to use the state: environment, networks, configuration.
    """

    state: RunState
    metrics: Mapping[str, Any]
    agent: Agent


Callback = Callable[[int, Mapping[str, Any], RunState], bool | None]
"""Called after every epoch with iterations, scalars and state, as in `Result`. The state is only lent: the next epoch overwrites
it. A scalar that an agent of a population lacks is NaN. Returning False ends the run, with a checkpoint."""


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
    """Trains as `config` says, going on from the newest checkpoint in its run directory if there is one.

    Args:
      config: hyperparameters; `resolve({"env": "ant"})` also reads the tuned ones that come with the package.
      losses: the algorithm, by default what `config.losses` names, or soft actor-critic.
      networks: actor and critic, by default that algorithm's.
      env: the environment, by default the one that `config.env` names.
      callbacks: called after every epoch.
      overwrite: start anew where a run exists.
      fallback: pass over newer checkpoints that are damaged.

    Raises:
      UsageError: the configuration cannot be trained, or does not fit the run it should go on with.
      TrainingError: a loss or a parameter stopped being finite, or a checkpoint cannot be written.
      KeyboardInterrupt: Ctrl-C or SIGTERM: at once before the first epoch, then after the epoch it came in was finished and
        saved.
    """
    attach = partial(rundir.attach, config, overwrite=overwrite, fallback=fallback, check_env=env is None)
    directory = attach().directory
    processes.start(config)
    primary = processes.primary()
    found = algorithm.load(config)
    alone = rundir.lock(directory) if primary else contextlib.nullcontext()
    with Console(config.iterations, config.num_agents, quiet=not primary) as console, Interrupt(console) as interrupt, alone:
        run = attach(verify=True)  # again: now that nobody else can save there
        console.phase(f"building {config.env}")
        compilation.set_up(config.device, config.deterministic, None if processes.joined() else config.num_devices)
        processes.check_same_run(run.latest)
        mesh = processes.mesh(config)
        agent, init, shapes, lowered = _build(config, found._replace(losses=losses or found.losses), env, networks, mesh)
        if primary and overwrite:  # only now: what can be wrong with an environment has shown itself
            rundir.clear(run.directory)
        if primary:
            rundir.set_aside(run)
        checkpoints = Checkpoints(run.directory, config, spaces(agent.episodes.env))
        state = _restore(run, agent, checkpoints, shapes, console, mesh)
        if primary:
            rundir.write_kwargs(run)
        report = Report(run.directory, config, run.latest or 0, console.message, primary)
        host = _Host(run, agent, checkpoints, report, console, list(callbacks), primary)
        try:
            if state and (run.latest or 0) >= config.iterations:
                return Result(state, {}, agent)
            return host.loop(state or init, Programs(agent, lowered, shapes), interrupt)
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # the latter when a CPU's exchange fails
            raise agent.episodes.failure or processes.lost(error) or error from None
        finally:
            agent.episodes.close()
            report.close()
            checkpoints.close()


def _build(
    config: Config, found: Algorithm, env: Environment | HostEnvironment | None, networks: Networks | None, mesh: Mesh | None
) -> tuple[Agent, Callable[[], RunState], RunState, Lowered]:
    """The agent, what makes its first state, the shapes of that, and the epoch ready to be compiled; refused if it cannot work."""
    with compilation.without_garbage_collection():
        env = env or envs.make(config.env, config)
        networks = networks or found.networks(config, env.action_size)
        agent = trainer.make_agent(config, env, networks, found.losses)
        algorithm.check(agent)
        init = population.init(agent, mesh)
        shapes = jax.eval_shape(init)
        _check_devices(agent, shapes, mesh)
        return agent, init, shapes, population.lower(agent, shapes, mesh)


def _check_devices(agent: Agent, shapes: RunState, mesh: Mesh | None) -> None:
    """Raises UsageError where the devices cannot hold the run."""
    size = mesh.size if mesh else 1
    if size > 1 and agent.episodes.on_host:
        raise UsageError(
            f"num_devices = {size}: an environment on the host cannot be shared by several devices: train on one, or train an "
            f"environment in JAX"
        )
    device = jax.devices()[0]
    memory.check(agent.config, shapes, device, jax.process_count() if device.platform == "cpu" else size)


def _restore(
    run: rundir.Run, agent: Agent, checkpoints: Checkpoints, like: RunState, console: Console, mesh: Mesh | None
) -> RunState | None:
    """The state to go on from, told with what has changed since; None where the run begins."""
    if run.latest is None:
        return None
    state = checkpoints.restore(run.latest, like, population.shardings(agent, mesh) if mesh else None)
    changes = "".join(f", {name} {old} -> {new}" for name, (old, new) in run.changed.items())
    fresh = "; the simulator starts new episodes" if agent.episodes.on_host else ""
    console.message(f"going on from {run.directory} at {run.latest:,} iterations{changes}{fresh}")
    if run.edited:
        console.message(f"{run.config.losses} has changed since {run.directory} was saved: training goes on with what it says now")
    return state


@dataclasses.dataclass(frozen=True)
class _Host:
    """What the host keeps hold of while the device works."""

    run: rundir.Run
    agent: Agent
    checkpoints: Checkpoints
    report: Report
    console: Console
    callbacks: list[Callback]
    primary: bool = True  # of several processes, which all go through the same loop

    def loop(self, start: RunState | Callable[[], RunState], programs: Programs, interrupt: Interrupt) -> Result:
        """Epoch, evaluation, log, checkpoint, until all iterations are done."""
        config, iterations = self.run.config, self.run.latest or 0
        saved = iterations
        metrics: Mapping[str, Any] = {}
        self.console.phase("compiling")
        self.report.hyperparameters()
        state = start if isinstance(start, RunState) else start()
        epoch = programs.epoch.result()
        self._show_exchanges(state, epoch)
        going_on = True
        interrupt.patient = True
        while iterations < config.iterations and going_on and not interrupt.received:
            started = time.perf_counter()
            self._announce(iterations, programs)
            state, raw = epoch(state)
            agents = [
                scalars(measured, config, iterations, time.perf_counter() - started)
                for measured in self.report.split(jax.device_get(raw))
            ]
            iterations += config.epoch_iterations
            self.report.check(agents, iterations)
            if self.primary:
                self._evaluate(state, iterations, agents, programs)
            fps = config.epoch_iterations / (time.perf_counter() - started)
            agents = [{**one, **self.checkpoints.cost, "time/fps": fps} for one in agents]
            self.report.log(iterations, agents)
            metrics = self.report.together(agents)
            for callback in self.callbacks:
                going_on &= callback(iterations, metrics, state) is not False
            interrupt.received, stop = processes.any_of(interrupt.received, not going_on)
            going_on = not stop
            if iterations // config.checkpoint_interval > saved // config.checkpoint_interval:
                self.console.phase("saving")
                self.checkpoints.save(iterations, state, _returns(metrics))
                saved = iterations
            self._show(iterations, metrics)
        self.console.phase("saving")
        if iterations > saved:
            self.checkpoints.save(iterations, state, _returns(metrics))
        self.checkpoints.wait()
        if processes.any_of(interrupt.received)[0]:  # and nobody leaves before all is written
            processes.leave()
            raise KeyboardInterrupt
        self._done(iterations)
        return Result(state, metrics, self.agent)

    def _show_exchanges(self, state: RunState, epoch: Any) -> None:
        if (n := len(state.key.devices())) > 1:
            self.console.message(f"{n} devices: {exchanges.describe(exchanges.count(epoch.as_text()))}")

    def _evaluate(self, state: RunState, iterations: int, agents: list[dict[str, float]], programs: Programs) -> None:
        """Adds to what was measured of each agent; nothing while it warms up, for nothing has been learned."""
        config = self.run.config
        if config.episodes_per_eval and agents[0]["train/n_updates"]:
            self.console.phase("evaluating")
            evaluated = programs.evaluate(state, iterations // config.epoch_iterations)
            for one, measured in zip(agents, self.report.split(evaluated), strict=True):
                one.update({tag: float(value) for tag, value in measured.items()})

    def _announce(self, iterations: int, programs: Programs) -> None:
        config = self.run.config
        warm = config.warm_up_vector_steps * config.num_envs
        if iterations + config.epoch_iterations <= warm:
            self.console.phase("warm-up")
        else:
            self.console.phase("training" if iterations >= warm else "warm-up, then training")
            programs.prepare_evaluation()

    def _show(self, iterations: int, metrics: Mapping[str, Any]) -> None:
        """Rates and return; of several agents what each of them does, and the mean of the returns of those that are left."""
        returns = _returns(metrics)
        iterations_rate, update_rate = (float(np.nanmean(metrics[f"time/{name}"])) for name in ("fps", "updates_per_second"))
        self.console.progress(
            iterations, (iterations_rate, update_rate), float(np.nanmean(returns)) if np.isfinite(returns).any() else None
        )

    def _done(self, iterations: int) -> None:
        self.console.phase("done")
        cost, lost = self.checkpoints.cost, self.report.lost
        size = f", checkpoint {cost['checkpoint/bytes'] / 1e6:,.1f} MB in {cost['checkpoint/seconds']:.1f} s" if cost else ""
        without = f", without {', '.join(lost)}" if lost else ""
        self.console.message(f"done: {iterations:,} iterations in {self.run.directory}{without}{size}")


def _returns(metrics: Mapping[str, Any]) -> np.ndarray:
    """Of every agent the mean return of the last evaluation, or else of its last training episodes; NaN where there is none."""
    return np.atleast_1d(metrics.get("eval/mean_reward", metrics.get("rollout/ep_rew_mean", np.nan)))
