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
class Loop:
    """A run in progress, on the host's side. All processes go through the same loop."""

    run: Run
    programs: Programs
    checkpoints: Checkpoints
    monitor: Monitor
    console: Console
    interrupt: Interrupt
    callbacks: Sequence[Callback]

    def __post_init__(self) -> None:
        self._config = self.run.config
        self._iterations = self._saved = self.run.latest or 0
        self._metrics: Mapping[str, Any] = {}
        self._stopped = False

    def train(self, state: RunState | None = None) -> Result:
        """Train until all iterations are done, or a signal or a callback ends it.

        Args:
          state: to resume from; None begins the run.

        Raises:
          NonFiniteError: no agent is finite any more.
          TrainingError: a checkpoint cannot be written.
          KeyboardInterrupt: a signal came; everything is saved.
        """
        state = self._prepare(state)
        interval = self._config.checkpoint_interval
        while self._iterations < self._config.iterations and not self._ends():
            started = time.perf_counter()
            state, agents = self._run_epoch(state)
            self._evaluate(state, agents)
            self._publish(state, agents, time.perf_counter() - started)
            if self._iterations // interval > self._saved // interval:
                self._save(state)
            self._show()
        self.console.phase("saving")
        if self._iterations > self._saved:
            self._save(state)
        self.checkpoints.wait()
        if processes.any_of(self.interrupt.received)[0]:  # nobody leaves before all is written
            processes.leave()
            raise KeyboardInterrupt
        self._say_what_was_done()
        return Result(state, self._metrics, self.programs.experiment)

    def _ends(self) -> bool:
        return self._stopped or self.interrupt.received

    def _prepare(self, state: RunState | None) -> RunState:
        """Make the first state, where there is none, while the epoch compiles."""
        self.console.phase("compiling")
        state = state or self.programs.init()
        program = self.programs.epoch.result()
        if (n := len(state.key.devices())) > 1:
            exchanges = hlo.describe_exchanges(hlo.count_exchanges(program.as_text()))
            self.console.message(f"{n} devices: {exchanges}")
        self.interrupt.patient = True
        return state

    def _run_epoch(self, state: RunState) -> tuple[RunState, list[Scalars]]:
        """Run an epoch; return each agent's scalars, checked to be finite."""
        self._announce()
        started = time.perf_counter()
        state, raw = self.programs.epoch.result()(state)
        measured = self.monitor.per_agent(jax.device_get(raw))
        seconds = time.perf_counter() - started
        agents = [scalars(one, self._config, self._iterations, seconds) for one in measured]
        self._iterations += self._config.epoch_iterations
        self.monitor.check(agents, self._iterations)
        return state, agents

    def _announce(self) -> None:
        """Show the phase, and compile evaluation as soon as it will be needed."""
        warm_up = self._config.warm_up_vector_steps * self._config.num_envs
        if self._iterations + self._config.epoch_iterations <= warm_up:
            return self.console.phase("warm-up")
        trains = self._iterations >= warm_up
        self.console.phase("training" if trains else "warm-up, then training")
        self.programs.prepare_evaluation()

    def _evaluate(self, state: RunState, agents: list[Scalars]) -> None:
        """Add each agent's evaluation; none during warm-up, when nothing has been learned."""
        trained = agents[0]["train/n_updates"]
        if not (processes.primary() and self._config.episodes_per_eval and trained):
            return
        self.console.phase("evaluating")
        epoch = self._iterations // self._config.epoch_iterations
        evaluated = self.monitor.per_agent(self.programs.evaluate(state, epoch))
        for one, measured in zip(agents, evaluated, strict=True):
            one.update({tag: float(value) for tag, value in measured.items()})

    def _publish(self, state: RunState, agents: list[Scalars], seconds: float) -> None:
        """Log, call the callbacks, and agree with other processes on whether to stop."""
        whole = {**self.checkpoints.cost, "time/fps": self._config.epoch_iterations / seconds}
        agents = [{**one, **whole} for one in agents]
        self.monitor.log(self._iterations, agents)
        self._metrics = self.monitor.together(agents)
        stop = False
        for callback in self.callbacks:
            stop |= callback(self._iterations, self._metrics, state) is False
        self.interrupt.received, self._stopped = processes.any_of(self.interrupt.received, stop)

    def _save(self, state: RunState) -> None:
        self.console.phase("saving")
        policy = {"actor_params": state.train.actor_params, "normalizer": state.normalizer}
        items = {"state": state, "policy": policy}
        self.checkpoints.save(self._iterations, items, _returns(self._metrics))
        self._saved = self._iterations

    def _show(self) -> None:
        """Show rates and return: per agent, and their mean over agents that are finite."""
        fps, updates = (self._metrics[f"time/{name}"] for name in ("fps", "updates_per_second"))
        rates = float(np.nanmean(fps)), float(np.nanmean(updates))
        returns = _returns(self._metrics)
        mean = float(np.nanmean(returns)) if np.isfinite(returns).any() else None
        self.console.progress(self._iterations, rates, mean)

    def _say_what_was_done(self) -> None:
        self.console.phase("done")
        cost, lost = self.checkpoints.cost, self.monitor.lost
        size = ""
        if cost:
            megabytes = cost["checkpoint/bytes"] / 1e6
            size = f", checkpoint {megabytes:,.1f} MB in {cost['checkpoint/seconds']:.1f} s"
        without = f", without {', '.join(lost)}" if lost else ""
        self.console.message(
            f"done: {self._iterations:,} iterations in {self.run.directory}{without}{size}"
        )


def _returns(metrics: Mapping[str, Any]) -> np.ndarray:
    """Return each agent's mean return, evaluated or else of training episodes; NaN for none."""
    training = metrics.get("rollout/ep_rew_mean", np.nan)
    return np.atleast_1d(metrics.get("eval/mean_reward", training))
