"""The host's loop around the compiled epoch: epoch, evaluate, publish, checkpoint."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mjx_sac.runs.checkpoint import Checkpoints
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled.epoch import Experiment, RunState
from mjx_sac.training.host import hlo, processes
from mjx_sac.training.host.compile import Programs
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.interrupt import Interrupt
from mjx_sac.training.host.monitor import Monitor, Scalars, scalars

Callback = Callable[[int, Mapping[str, Any], RunState], bool | None]
"""Called after every epoch with iterations, scalars and state, as in `Result`. The state is only
lent: the next epoch overwrites it. A scalar that an agent of a population lacks is NaN. Returning
False ends the run, with a checkpoint."""


class Result(NamedTuple):
    """What `train` returns.

    Attributes:
      state: the final state; of a population, every array but `warm_up_left` has a leading axis of
        agents.
      metrics: the scalars of the last epoch; of a population, an array of them for each.
      experiment: what is needed to use the state: environment, networks, configuration.
    """

    state: RunState
    metrics: Mapping[str, Any]
    experiment: Experiment


@dataclasses.dataclass
class EpochRecord:
    """What one epoch came to.

    Attributes:
      iterations: of each agent, with this epoch.
      started: on the clock of `time.perf_counter`.
      agents: the scalars of each agent.
    """

    iterations: int
    started: float
    agents: list[Scalars]


@dataclasses.dataclass
class Loop:
    """A run in progress, on the host's side.

    Attributes:
      run: configuration and directory.
      experiment: what the programs were made of.
      programs: compiled, or being compiled.
      checkpoints: where states go.
      monitor: where scalars go.
      console: where a person looks.
      interrupt: Ctrl-C and SIGTERM.
      callbacks: the user's.
      primary: this process speaks for all, which go through the same loop.
    """

    run: Run
    experiment: Experiment
    programs: Programs
    checkpoints: Checkpoints
    monitor: Monitor
    console: Console
    interrupt: Interrupt
    callbacks: Sequence[Callback]
    primary: bool = True

    def __post_init__(self) -> None:
        self.config = self.run.config
        self.iterations = self.saved = self.run.latest or 0
        self.metrics: Mapping[str, Any] = {}
        self.stopped = False

    def train(self, start: RunState | Callable[[], RunState]) -> Result:
        """Train until all iterations are done, or a signal or a callback ends it.

        Raises:
          NonFiniteError: no agent is finite any more.
          TrainingError: a checkpoint cannot be written.
          KeyboardInterrupt: a signal came; everything is saved.
        """
        state = self._prepare(start)
        while self.iterations < self.config.iterations and not self._interrupted():
            state, record = self._run_epoch(state)
            self._evaluate(state, record)
            self._publish(state, record)
            interval = self.config.checkpoint_interval
            if self.iterations // interval > self.saved // interval:
                self._save(state)
            self._show()
        self.console.phase("saving")
        if self.iterations > self.saved:
            self._save(state)
        self.checkpoints.wait()
        if processes.any_of(self.interrupt.received)[0]:  # nobody leaves before all is written
            processes.leave()
            raise KeyboardInterrupt
        self._done()
        return Result(state, self.metrics, self.experiment)

    def _interrupted(self) -> bool:
        return self.stopped or self.interrupt.received

    def _prepare(self, start: RunState | Callable[[], RunState]) -> RunState:
        """Make the first state while the epoch compiles."""
        self.console.phase("compiling")
        self.monitor.hyperparameters()
        state = start if isinstance(start, RunState) else start()
        program = self.programs.epoch.result()
        if (n := len(state.key.devices())) > 1:
            exchanges = hlo.describe_exchanges(hlo.count_exchanges(program.as_text()))
            self.console.message(f"{n} devices: {exchanges}")
        self.interrupt.patient = True
        return state

    def _run_epoch(self, state: RunState) -> tuple[RunState, EpochRecord]:
        """Run an epoch and check that what it measured is finite."""
        config, started = self.config, time.perf_counter()
        self._announce()
        state, raw = self.programs.epoch.result()(state)
        measured = self.monitor.per_agent(jax.device_get(raw))
        seconds = time.perf_counter() - started
        agents = [scalars(one, config, self.iterations, seconds) for one in measured]
        self.iterations += config.epoch_iterations
        self.monitor.check(agents, self.iterations)
        return state, EpochRecord(self.iterations, started, agents)

    def _announce(self) -> None:
        """Show the phase, and compile evaluation as soon as it will be needed."""
        warm_up = self.config.warm_up_vector_steps * self.config.num_envs
        if self.iterations + self.config.epoch_iterations <= warm_up:
            self.console.phase("warm-up")
        else:
            trains = self.iterations >= warm_up
            self.console.phase("training" if trains else "warm-up, then training")
            self.programs.prepare_evaluation()

    def _evaluate(self, state: RunState, record: EpochRecord) -> None:
        """Add each agent's evaluation; none during warm-up, when nothing has been learned."""
        trained = record.agents[0]["train/n_updates"]
        if not (self.primary and self.config.episodes_per_eval and trained):
            return
        self.console.phase("evaluating")
        epoch = record.iterations // self.config.epoch_iterations
        evaluated = self.monitor.per_agent(self.programs.evaluate(state, epoch))
        for one, measured in zip(record.agents, evaluated, strict=True):
            one.update({tag: float(value) for tag, value in measured.items()})

    def _publish(self, state: RunState, record: EpochRecord) -> None:
        """Log, call the callbacks, and agree with other processes on whether to stop."""
        fps = self.config.epoch_iterations / (time.perf_counter() - record.started)
        agents = [{**one, **self.checkpoints.cost, "time/fps": fps} for one in record.agents]
        self.monitor.log(record.iterations, agents)
        self.metrics = self.monitor.together(agents)
        stop = False
        for callback in self.callbacks:
            stop |= callback(record.iterations, self.metrics, state) is False
        self.interrupt.received, self.stopped = processes.any_of(self.interrupt.received, stop)

    def _save(self, state: RunState) -> None:
        self.console.phase("saving")
        policy = {"actor_params": state.train.actor_params, "normalizer": state.normalizer}
        items = {"state": state, "policy": policy}
        self.checkpoints.save(self.iterations, items, _returns(self.metrics))
        self.saved = self.iterations

    def _show(self) -> None:
        """Show rates and return: per agent, and their mean over agents that are finite."""
        returns = _returns(self.metrics)
        rates = [
            float(np.nanmean(self.metrics[f"time/{n}"])) for n in ("fps", "updates_per_second")
        ]
        mean = float(np.nanmean(returns)) if np.isfinite(returns).any() else None
        self.console.progress(self.iterations, (rates[0], rates[1]), mean)

    def _done(self) -> None:
        self.console.phase("done")
        cost, lost = self.checkpoints.cost, self.monitor.lost
        size = ""
        if cost:
            megabytes = cost["checkpoint/bytes"] / 1e6
            size = f", checkpoint {megabytes:,.1f} MB in {cost['checkpoint/seconds']:.1f} s"
        without = f", without {', '.join(lost)}" if lost else ""
        self.console.message(
            f"done: {self.iterations:,} iterations in {self.run.directory}{without}{size}"
        )


def _returns(metrics: Mapping[str, Any]) -> np.ndarray:
    """Return each agent's mean return, evaluated or else of training episodes; NaN for none."""
    training = metrics.get("rollout/ep_rew_mean", np.nan)
    return np.atleast_1d(metrics.get("eval/mean_reward", training))
