"""What an epoch measured: floats per agent, event files, and whether an agent can continue."""

import math
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from mjx_sac.config import Config, NonFiniteError
from mjx_sac.runs import tracking
from mjx_sac.runs.event_files import EventWriter
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled.metrics import HISTOGRAM, PERCENTILES

Scalars = dict[str, float]


class Monitor:
    """Hands each agent's scalars to its loggers and tracks which agents are still finite.

    Loggers are an event file, in the run directory itself for a single agent, and trackers.

    Attributes:
      lost: agents that became non-finite, and why.
    """

    def __init__(
        self,
        run: Run,
        warn: Callable[[str], None],
        writes: bool = True,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Open loggers, unless another process `writes`; they begin with hyperparameters.

        `warn` shows a line to the user; trackers keep `facts` beside hyperparameters.
        """
        self._config, self._warn = run.config, warn
        self._names = run.config.agent_names()
        self.lost: dict[str, str] = {}
        self._overflowed = False
        names = run.config.trackers if writes else ()
        self._trackers = [tracking.Tracker(name, run.directory, run.config, warn) for name in names]
        self._loggers: list[list[tracking.Logger]] = []
        for name in (self._names or ("",)) if writes else ():
            (run.directory / name).mkdir(exist_ok=True)
            events = EventWriter(run.directory / name, run.latest or 0, warn)
            tracked = [tracker.run(name, facts or {}) for tracker in self._trackers]
            self._loggers.append([events, *tracked])
        for loggers, agent in zip(self._loggers, run.config.population(), strict=False):
            for logger in loggers:
                logger.hyperparameters(agent.model_dump())

    @property
    def alive(self) -> np.ndarray:
        """Whether each agent is still finite."""
        return np.array([name not in self.lost for name in self._names or ("",)])

    def per_agent(self, raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Split metrics with an axis of agents."""
        if not self._names:
            return [raw]
        return [jax.tree.map(itemgetter(i), raw) for i in range(len(self._names))]

    def check(self, agents: list[Scalars], iterations: int) -> None:
        """Note which agents became non-finite; raise NonFiniteError for the last one."""
        for name, metrics in zip(self._names or ("",), agents, strict=True):
            error = problem(metrics, iterations)
            if error and not self._names:
                raise NonFiniteError(error)
            if error and name not in self.lost:
                self.lost[name] = error
                self._warn(f"{name} is lost, the others continue: {error}")
        if self._names and len(self.lost) == len(self._names):
            last = self.lost[self._names[-1]]
            raise NonFiniteError(f"all {len(self._names)} agents are lost; the last one: {last}")
        share = max(metrics.get("env/overflow", 0.0) for metrics in agents)
        if share and not self._overflowed:
            self._overflowed = True
            what = "Warp had no room for all contacts or constraints, which it leaves out"
            way_out = "raise --env_option naconmax=N or njmax=N"
            self._warn(f"in {share:.2%} of the environments' steps {what}: {way_out}")

    def log(self, iterations: int, agents: list[Scalars]) -> None:
        """Write the scalars of every agent that is still finite."""
        every = zip(self._names or ("",), self._loggers, agents, strict=False)
        for name, loggers, metrics in every:
            values = with_histograms(metrics)
            for logger in loggers if name not in self.lost else ():
                logger.log(iterations, values)

    def film(self, iterations: int, path: Path) -> None:
        """Show a GIF of the first agent."""
        for logger in self._loggers[0]:
            logger.film(iterations, path)

    def together(self, agents: list[Scalars]) -> Mapping[str, Any]:
        """Return one agent's scalars; of several arrays, NaN where an agent has none or is lost."""
        if not self._names:
            return agents[0]
        named = zip(self._names, agents, strict=True)
        agents = [{} if name in self.lost else metrics for name, metrics in named]
        tags = dict.fromkeys(tag for metrics in agents for tag in metrics)
        return {tag: np.array([one.get(tag, math.nan) for one in agents]) for tag in tags}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close all loggers, saying how the run ended."""
        killed = kind and not issubclass(kind, Exception)
        status = "killed" if killed else "failed" if kind else "finished"
        for name, loggers in zip(self._names or ("",), self._loggers, strict=False):
            for logger in loggers:
                logger.close("failed" if name in self.lost else status)
        tracking.close(self._trackers)


def scalars(raw: Mapping[str, Any], config: Config, updates: int, seconds: float) -> Scalars:
    """Return what one agent measured in an epoch before which it had taken `updates`, as floats.

    What was not measured is left out: losses during warm-up, returns where no episode ended.
    """
    numbers: dict[str, Any] = jax.tree.map(float, dict(raw))
    losses, trained = numbers.pop("losses"), round(numbers.pop("trained_vector_steps"))
    measured = {tag: value for part, count in losses if count for tag, value in part.items()}
    reported = numbers.pop("reported", {}).items()
    measured |= {tag: value for tag, value in reported if math.isfinite(value)}
    if not numbers.get("rollout/episodes", True):  # offline there is nothing to count
        del numbers["rollout/ep_rew_mean"], numbers["rollout/ep_len_mean"]
    new = trained * config.updates_per_vector_step
    return {
        **measured,
        **numbers,
        "train/n_updates": float(updates + new),
        "time/iterations_per_second": config.epoch_iterations / seconds,
        "time/updates_per_second": new / seconds,
    }


def with_histograms(metrics: Mapping[str, float]) -> dict[str, tracking.Value]:
    """Return metrics with a histogram in place of the percentiles that are known of it."""
    found: dict[str, Any] = {}
    for tag, value in sorted(metrics.items()):
        if not tag.startswith(HISTOGRAM):
            found[tag] = value
        elif math.isfinite(value):
            found.setdefault(tag.rpartition("@")[0], []).append(value)
    for tag in filter(lambda tag: tag.startswith(HISTOGRAM), found):
        values = np.sort(found[tag])  # rounding may have changed their order
        edges = np.linspace(values[0], values[-1], len(PERCENTILES))
        below = np.interp(edges, values, PERCENTILES / 100)
        below[0] = 0.0  # what equals the lowest edge is above it
        found[tag] = np.diff(below).tolist(), edges.tolist()
    return found


def problem(metrics: Mapping[str, float], iterations: int) -> str | None:
    """Return why an agent cannot continue, or None."""
    if not metrics["replay/size"]:
        what = f"no environment step was finite in {iterations:,} iterations"
        way_out = "look for NaN in the environment's observations, rewards and state"
        return f"{what}, so there is nothing to learn from: {way_out}"
    if metrics["health/nonfinite_parameters"]:
        metrics = {**metrics, "train/parameters": math.nan}
    for tag, value in sorted(metrics.items(), key=lambda item: not item[0].startswith("train/")):
        if not math.isfinite(value):
            what = f"{tag} is {value} after {iterations:,} iterations: the run cannot continue"
            way_out = "(a lower q_lr, policy_lr or reward_scale may help)"
            return f"{what}; checkpoints saved before are intact {way_out}"
    return None
