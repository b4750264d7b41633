"""The best policy by evaluation that a run has had, kept beside its newest checkpoints."""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mjx_sac.runs import array_store
from mjx_sac.runs.directory import best_path
from mjx_sac.runs.resolve import Run

Arrays = dict[str, np.ndarray]


class Best:
    """Keeps it; of a population each agent's own, row by row.

    It is what evaluations have found since the run began, also those after the checkpoint that it
    resumes from: the same ones again change nothing. Training never ends because of it.

    Attributes:
      returns: the highest mean return of each agent; minus infinity before the first evaluation.
      iterations: when that was; 0 before.
    """

    def __init__(self, run: Run, header: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        """Read what a resumed run has; manifests have `header`, `warn` shows the user a line."""
        self._path, self._header, self._warn = best_path(run.directory), header, warn
        self._per_agent = run.config.is_population
        self.returns = np.full(run.config.num_agents, -np.inf)
        self.iterations = np.zeros(run.config.num_agents, int)
        self._arrays: Arrays = {}
        if run.latest is None:  # another run's, which left no checkpoint
            shutil.rmtree(self._path, ignore_errors=True)
        elif self._path.exists():
            self._load()

    def _load(self) -> None:
        try:
            manifest = array_store.manifest(self._path)
            self._arrays = dict(array_store.read(self._path, manifest))
        except array_store.DamagedError as error:
            return self._warn(f"warning: {error}: the next evaluation counts as the best")
        self.returns = np.array([-np.inf if x is None else x for x in manifest["returns"]])
        self.iterations = np.atleast_1d(manifest["iterations"])

    def offer(self, iterations: int, returns: np.ndarray, arrays: Callable[[], Arrays]) -> None:
        """Keep what is better than all before, by each agent's mean return; NaN never is.

        `arrays` copies the policy to the host, by the names it has in a checkpoint.
        """
        better = np.isfinite(returns) & (returns > self.returns)
        if not better.any():
            return
        new = arrays()
        if self._per_agent and self._arrays:
            for name, x in new.items():
                rows = better.reshape(-1, *(1,) * (x.ndim - 1))
                new[name] = np.where(rows, x, self._arrays[name])
        self._arrays = new
        self.returns = np.where(better, returns, self.returns)
        self.iterations = np.where(better, iterations, self.iterations)
        self._write()

    def _write(self) -> None:
        iterations = self.iterations.tolist()
        header = {
            "iterations": iterations if self._per_agent else iterations[0],
            "returns": array_store.finite(self.returns),
            **self._header,
        }
        new = self._path.with_name("new")
        try:
            shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
            array_store.write(new, self._arrays, header, None)
            array_store.replace(new, self._path)
        except OSError as error:
            reason = error.strerror or error
            self._warn(f"warning: the best policy so far cannot be written ({reason})")
