"""Evaluation between epochs: when, at what cost, and how good the agents were, last and at best."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mjx_sac.config import due
from mjx_sac.runs import array_store
from mjx_sac.runs.best import Best
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.critic_bias import critics_of
from mjx_sac.training.compiled.experiment import RunState
from mjx_sac.training.host.compile import Programs
from mjx_sac.training.host.console import Console
from mjx_sac.training.host.monitor import Monitor, Scalars
from mjx_sac.types import named_leaves

_MUCH = 0.1
"""A share of the time above which the user is asked whether it is worth it."""


def policy_of(state: RunState) -> dict[str, Any]:
    """Return what acting needs, as a checkpoint's policy part has it."""
    return {"actor_params": state.train.actor, "normalizer": state.normalizer}


@dataclasses.dataclass
class Evaluation:
    """Evaluates where it is due; which iterations alone decide, so a resumed run does the same.

    Attributes:
      best: what process 0 keeps; None in others.
      returns: each agent's mean return, at the last evaluation or, before the first, of training
        episodes; NaN for none, or where the agent is lost.
      evaluated: iterations of the last evaluation; None before the first.
    """

    run: Run
    programs: Programs
    monitor: Monitor
    console: Console
    best: Best | None

    def __post_init__(self) -> None:
        config, manifest = self.run.config, self.run.manifest or {}
        stored = manifest.get("returns") or [None] * config.num_agents
        self.returns = np.array(stored, float)  # None becomes NaN
        self.evaluated: int | None = manifest.get("evaluated")
        self.begin()
        self._asked = False

    def begin(self) -> None:
        """Take the time: the first epoch begins."""
        self._ended = time.perf_counter()

    def evaluate(self, state: RunState, agents: list[Scalars], before: int, now: int) -> None:
        """Add each agent's evaluation where one is due after the epoch from `before` to `now`.

        All processes must call it: process 0 plays, with parameters that the others send.
        """
        config = self.run.config
        # Nothing has been learned during warm-up.
        trained = any(one["train/n_updates"] for one in agents) and config.episodes_per_eval
        if not trained or not due.evaluates(config, before, now):
            return
        self.console.phase("evaluating")
        policy, critics = policy_of(state), critics_of(config, state)
        if len(state.key.devices()) > 1:
            policy, critics = sharding.whole((policy, critics))
        if self.best is None:
            return
        self.programs.prepare_evaluation().result()
        started = time.perf_counter()
        epoch = now // config.epoch_iterations
        evaluated = self.monitor.per_agent(self.programs.evaluate(policy, epoch, critics))
        for one, measured in zip(agents, evaluated, strict=True):
            one.update({tag: float(value) for tag, value in measured.items()})
        self._account(started, agents, last=now >= config.iterations)
        returns = np.atleast_1d(self.monitor.together(agents)["eval/mean_reward"])
        self.best.offer(now, returns, lambda: sharding.fetch(named_leaves(policy)))

    def _account(self, started: float, agents: list[Scalars], last: bool) -> None:
        """Add the share of the time since the last evaluation; say once where it is much."""
        ended = time.perf_counter()
        share = (ended - started) / (ended - self._ended)
        self._ended = ended
        for one in agents:
            one["time/eval_share"] = share
        if share > _MUCH and not last and not self._asked:
            self._asked = True
            way_out = "a larger --eval_interval or fewer --episodes_per_eval leave it to training"
            self.console.message(f"evaluation takes {share:.0%} of the time: {way_out}")

    def note(self, now: int, metrics: Mapping[str, Any]) -> None:
        """Take note of the returns of the epoch that ended at `now`."""
        if "eval/mean_reward" in metrics:
            self.evaluated, self.returns = now, np.atleast_1d(metrics["eval/mean_reward"])
        elif self.evaluated is None:
            self.returns = np.atleast_1d(metrics.get("rollout/ep_rew_mean", np.nan))
        self.returns = np.where(self.monitor.alive, self.returns, np.nan)

    def reached(self, now: int) -> bool:
        """Return whether the evaluation at `now` ends the run."""
        return self.evaluated == now and due.reached(self.run.config, self.returns)

    def progress(self) -> dict[str, Any]:
        """Return what a resumed run has to know, for JSON."""
        return {"returns": array_store.finite(self.returns), "evaluated": self.evaluated}
