"""What an epoch has measured, for people: scalars of every agent, its event file, and whether it can go on."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mjx_sac.config import Config, NonFiniteError
from mjx_sac.logger import Logger

Scalars = dict[str, float]


class Report:
    """The event files of all agents, which an agent alone has in the run's own directory, and who of them is left.

    Attributes:
      lost: agents that stopped being finite, and why.
    """

    def __init__(
        self, directory: pathlib.Path, config: Config, iterations: int, warn: Callable[[str], None], writes: bool = True
    ) -> None:
        """For a run that goes on after `iterations`; `warn` is told what a person should know. One process of several `writes`."""
        self._config, self._warn = config, warn
        self._names = config.member_names()
        self.lost: dict[str, str] = {}
        directories = ([directory / name for name in self._names] or [directory]) if writes else []
        for path in directories:
            path.mkdir(exist_ok=True)
        self._loggers = [Logger(path, iterations, warn) for path in directories]

    def hyperparameters(self) -> None:
        for logger, agent in zip(self._loggers, self._config.population(), strict=False):
            logger.hyperparameters(agent.model_dump())

    def split(self, raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Of every agent what was measured of all."""
        return [{tag: values[i] for tag, values in raw.items()} for i in range(len(self._names))] if self._names else [raw]

    def check(self, agents: list[Scalars], iterations: int) -> None:
        """Takes out whoever stopped being finite.

        Raises:
          NonFiniteError: it was the last one.
        """
        for name, metrics in zip(self._names or ("",), agents, strict=True):
            error = problem(metrics, iterations)
            if error and not self._names:
                raise NonFiniteError(error)
            if error and name not in self.lost:
                self.lost[name] = error
                self._warn(f"{name} is lost, the others go on: {error}")
        if self._names and len(self.lost) == len(self._names):
            raise NonFiniteError(f"all {len(self._names)} agents are lost; the last one: {self.lost[self._names[-1]]}")

    def log(self, iterations: int, agents: list[Scalars]) -> None:
        for name, logger, metrics in zip(self._names or ("",), self._loggers, agents, strict=False):
            if name not in self.lost:
                logger.log(iterations, metrics)

    def together(self, agents: list[Scalars]) -> Mapping[str, Any]:
        """The scalars of an agent alone; of several an array for each, NaN where an agent has none or is lost."""
        if not self._names:
            return agents[0]
        agents = [{} if name in self.lost else metrics for name, metrics in zip(self._names, agents, strict=True)]
        tags = dict.fromkeys(tag for metrics in agents for tag in metrics)
        return {tag: np.array([metrics.get(tag, math.nan) for metrics in agents]) for tag in tags}

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


def scalars(raw: Mapping[str, Any], config: Config, iterations: int, seconds: float) -> dict[str, float]:
    """What was measured in the epoch that began at `iterations`, as floats; what was not is left out."""
    metrics = {tag: float(value) for tag, value in raw.items()}
    trained = round(metrics.pop("trained_vector_steps"))
    if not trained:
        metrics = {tag: value for tag, value in metrics.items() if not tag.startswith(("train/", "diagnostics/"))}
    if not metrics["rollout/episodes"]:
        metrics = {tag: value for tag, value in metrics.items() if tag not in ("rollout/ep_rew_mean", "rollout/ep_len_mean")}
    updates = trained * config.updates_per_vector_step
    vector_steps = (iterations + config.epoch_iterations) // config.num_envs
    total = max(vector_steps - config.warm_up_vector_steps, 0) * config.updates_per_vector_step
    return {
        **metrics,
        "train/n_updates": float(total),
        "time/iterations_per_second": config.epoch_iterations / seconds,
        "time/updates_per_second": updates / seconds,
    }


def problem(metrics: Mapping[str, float], iterations: int) -> str | None:
    """Why an agent cannot go on."""
    if not metrics["replay/size"]:
        return (
            f"no environment step was finite in {iterations:,} iterations, so there is nothing to learn from: look for NaN in "
            f"the environment's observations, rewards and state"
        )
    if metrics["health/nonfinite_parameters"]:
        metrics = {**metrics, "train/parameters": math.nan}
    for tag, value in sorted(metrics.items(), key=lambda item: not item[0].startswith("train/")):
        if not math.isfinite(value):
            return (
                f"{tag} is {value} after {iterations:,} iterations: the run cannot go on; checkpoints saved before are "
                f"intact (a lower q_lr, policy_lr or reward_scale may help)"
            )
    return None
