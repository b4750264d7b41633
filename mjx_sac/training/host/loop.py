"""The host's loop around the compiled epoch: epoch, evaluate, publish, checkpoint."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mjx_sac.config import due
from mjx_sac.runs.checkpoint import Checkpoints
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.training.host import hlo, processes
from mjx_sac.training.host.compile import Programs
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.evaluation import Evaluation, policy_of
from mjx_sac.training.host.films import Films
from mjx_sac.training.host.interrupt import Interrupt
from mjx_sac.training.host.monitor import Monitor, Scalars, scalars

Callback = Callable[[int, Mapping[str, Any], RunState], bool | None]
"""Called after every epoch with iterations, scalars and state, as in `Result`. The state is only
lent: the next epoch overwrites it. A scalar that an agent of a population lacks is NaN. What it
returns ends the run, with a checkpoint, if it is false and not None. Each of several processes
calls its own callbacks, all with the same scalars; of the state's arrays it holds a part."""


class Result(NamedTuple):
    """What `train` returns.

    Attributes:
      state: the final state; of a population, every array but counters has a leading axis of
        agents. Of several processes each holds a part of the arrays.
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
    evaluation: Evaluation
    films: Films

    def __post_init__(self) -> None:
        self._config = self.run.config
        self._iterations = self._saved = self.run.latest or 0
        self._metrics: Mapping[str, Any] = {}
        self._updates = _updates(self.run)
        self._stopped = self._reached = False

    def train(self, state: RunState | None = None) -> Result:
        """Train, from `state` if there is one, until all is done or a signal or a callback ends it.

        Raises:
          NonFiniteError: no agent is finite any more.
          TrainingError: a checkpoint cannot be written.
          KeyboardInterrupt: a signal came; everything is saved.
        """
        state, total = self._prepare(state), self._config.iterations
        while not (self._stopped or self.interrupt.received or self._iterations >= total):
            started, before = time.perf_counter(), self._iterations
            state, agents = self._run_epoch(state)
            self.evaluation.evaluate(state, agents, before, self._iterations)
            self._publish(state, agents, time.perf_counter() - started)
            self.films.film(state, before, self._iterations)
            if due.saves(self._config, self._saved, self._iterations):
                self._save(state)
            self._show()
        self.console.phase("saving")
        if self._iterations > self._saved:
            self._save(state)
        self.checkpoints.finish(self._saved)
        if processes.any_of(self.interrupt.received)[0]:  # nobody leaves before all is written
            processes.leave()
            raise KeyboardInterrupt
        self._say_what_was_done()
        return Result(state, self._metrics, self.programs.experiment)

    def _prepare(self, state: RunState | None) -> RunState:
        """Make the first state, where there is none, while the epoch compiles."""
        self.console.phase("compiling")
        state = state or self.programs.init()
        program = self.programs.epoch.result()
        if (n := len(state.key.devices())) > 1:
            with contextlib.suppress(Exception):  # XLA's text may change, and this only informs
                exchanges = hlo.describe_exchanges(hlo.count_exchanges(program.as_text()))
                self.console.message(f"{n} devices: {exchanges}")
        self.interrupt.patient = True
        self.evaluation.begin()
        return state

    def _run_epoch(self, state: RunState) -> tuple[RunState, list[Scalars]]:
        """Run an epoch; return each agent's scalars, checked to be finite."""
        self._announce()
        started = time.perf_counter()
        state, raw = self.programs.epoch.result()(state)
        measured = self.monitor.per_agent(jax.device_get(raw))
        seconds = time.perf_counter() - started
        pairs = zip(measured, self._updates, strict=True)
        agents = [scalars(one, self._config, before, seconds) for one, before in pairs]
        self._updates = [round(one["train/n_updates"]) for one in agents]
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
        if self._config.episodes_per_eval and processes.primary():
            self.programs.prepare_evaluation()

    def _publish(self, state: RunState, agents: list[Scalars], seconds: float) -> None:
        """Log, call the callbacks, and agree with other processes on whether to stop."""
        whole = {**self.checkpoints.cost, "time/fps": self._config.epoch_iterations / seconds}
        agents = processes.from_first([{**one, **whole} for one in agents])
        self.monitor.log(self._iterations, agents)
        self._metrics = self.monitor.together(agents)
        self.evaluation.note(self._iterations, self._metrics)
        self._reached = stop = self.evaluation.reached(self._iterations)
        for callback in self.callbacks:
            answer = callback(self._iterations, self._metrics, state)
            stop |= answer is not None and not answer
        self.interrupt.received, self._stopped = processes.any_of(self.interrupt.received, stop)

    def _save(self, state: RunState) -> None:
        self.console.phase("saving")
        items = {"state": state.saved, "policy": policy_of(state)}
        progress = {**self.evaluation.progress(), "updates": self._updates}
        self.checkpoints.save(self._iterations, items, progress)
        self._saved = self._iterations

    def _show(self) -> None:
        """Show rates and return: per agent, and their mean over agents that are finite."""
        fps, updates = (self._metrics[f"time/{name}"] for name in ("fps", "updates_per_second"))
        rates = float(np.nanmean(fps)), float(np.nanmean(updates))
        returns = self.evaluation.returns
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
        stopped = f", stop_at {self._config.stop_at:g} is reached" if self._reached else ""
        count = f"{self._iterations:,} iterations"
        self.console.message(f"done: {count} in {self._config.run_dir}{stopped}{without}{size}")


def _updates(run: Run) -> list[int]:
    """Return how many gradient steps each agent has taken."""
    config, manifest = run.config, run.manifest or {}
    # Older checkpoints do not say it: computed as if every step had been valid.
    vector_steps = (run.latest or 0) // config.num_envs - config.warm_up_vector_steps
    computed = max(vector_steps, 0) * config.updates_per_vector_step
    return manifest.get("updates") or [computed] * config.num_agents
