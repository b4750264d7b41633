"""Films of the policy in the logs: `mjx-sac record` draws them, in a process of its own.

Training hands over the actor's parameters and does not wait. Where no film can be drawn that costs
a warning.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from mjx_sac.config import Config
from mjx_sac.envs.registry import registered
from mjx_sac.envs.spaces import mujoco_model
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.experiment import RunState
from mjx_sac.training.host import processes
from mjx_sac.training.host.evaluation import policy_of
from mjx_sac.training.host.monitor import Monitor
from mjx_sac.types import named_leaves

SECONDS = 5
"""What a film shows at most."""
DRAWING_SECONDS = 3600
"""It may take so long: at the lowest priority, where other processes leave it little."""
FINISH_SECONDS = 45.0
"""The last one has so long when training has ended."""

# An alarm ends it whatever it hangs in; where training's process is killed, Linux kills it too.
_COMMAND = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.nice(19)
signal.alarm(int(sys.argv.pop(1)))
from mjx_sac.cli.app import main
main()
"""


def possible(run: Run, env: Any, warn: Callable[[str], None], *, named: bool) -> Run:
    """Return the run, after a warning without films if they cannot be; `named` says whether its
    configuration names the environment and the networks.
    """
    if (reason := problem(run.config, env, named=named)) is None:
        return run
    warn(f"warning: no films: {reason}")
    return run._replace(config=run.config.model_copy(update={"film_interval": 0}))


def problem(config: Config, env: Any, *, named: bool) -> str | None:
    """Return why there will be no films that `config` asks for."""
    inner = getattr(env, "env", env)
    drawn = hasattr(env, "simulator") or (mujoco_model(inner) and hasattr(inner, "dt"))
    if not config.film_interval or (named and drawn and config.env not in registered()):
        return None
    if not drawn:
        return f"env = {config.env!r} has no MuJoCo model (attributes `mj_model` and `dt`) to draw"
    return "another process draws them, which finds environment and networks by name alone"


class Films:
    """Has films drawn, one at a time; of a population's first agent.

    Which iterations is decided by iterations alone. RUN/films/ has each film, and the policy of the
    one that is being drawn, as checkpoints have it: a resumed run draws what was interrupted.
    """

    def __init__(
        self, run: Run, header: Mapping[str, Any], monitor: Monitor, warn: Callable[[str], None]
    ) -> None:
        """Resume the film that the run was interrupted in; manifests have `header`, `warn` shows
        the user a line.
        """
        self._config, self._monitor, self._warn = run.config, monitor, warn
        self._header = {**header, "config": run.config.population()[0].model_dump(mode="json")}
        self._directory = run.directory / "films"
        self._process: subprocess.Popen[bytes] | None = None
        self._iterations, self._skipped, self._over = 0, False, not processes.primary()
        left = steps(self._directory) if run.config.film_interval and not self._over else []
        for step in left:
            if step > (run.latest or 0):  # lost, with what was trained after the checkpoint
                shutil.rmtree(checkpoint_path(self._directory, step), ignore_errors=True)
            elif self._process is None:
                self._begin(step)

    def film(self, state: RunState, before: int, now: int) -> None:
        """Log a film that is done, and begin one where it is due after the epoch from `before` to
        `now`. All processes must call it.
        """
        interval = self._config.film_interval
        if not interval:
            return
        self._collect()
        if now // interval == before // interval:
            return
        arrays = sharding.fetch(named_leaves(policy_of(state)))
        if self._process and not self._skipped:
            self._skipped = True
            self._warn(f"a film takes longer than film_interval {interval}: some are left out")
        if self._monitor.alive[0] and not (self._process or self._over):
            single = not self._config.is_population
            self._begin(now, {name: x if single else x[0] for name, x in arrays.items()})

    def _begin(self, iterations: int, arrays: Mapping[str, Any] | None = None) -> None:
        """Have a film drawn of the policy in `arrays`, or of one that has been written."""
        self._iterations, target = iterations, checkpoint_path(self._directory, iterations)
        out, new = self._directory / f"{iterations}.gif", target.with_name("new")
        command = (sys.executable, "-P", "-c", _COMMAND, str(DRAWING_SECONDS), "record")
        where = (str(self._directory), "--step", str(iterations), "--out", str(out))
        try:
            if arrays:
                shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
                header = {"iterations": iterations, **self._header}
                array_store.write(new / "policy", arrays, header, None)
                new.rename(target)
            with (self._directory / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [*command, *where, "--seconds", str(SECONDS), "--device", "cpu"],
                    # It finds what this process finds.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for training. (In a session of its own `nice` would do nothing.)
                    process_group=0,
                )
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _collect(self) -> None:
        """Log the film, if it is done."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        self._process = None
        shutil.rmtree(checkpoint_path(self._directory, self._iterations), ignore_errors=True)
        try:
            if code == 0:
                film = self._directory / f"{self._iterations}.gif"
                return self._monitor.film(self._iterations, film)
            said = (self._directory / "log").read_text(encoding="utf-8", errors="replace").strip()
            reason = said.rpartition("\n")[2].removeprefix("mjx-sac: ")
        except OSError as error:
            reason = error.strerror or str(error)
        if code < 0:
            reason = f"its process was ended by signal {-code}"
        if code == -signal.SIGALRM:
            reason = f"not drawn within {DRAWING_SECONDS} s"
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._over = True
        self._warn(f"warning: no films from here on: {reason} ({self._directory}/log says more)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last film, unless training has failed."""
        try:
            if self._process and kind is None:
                self._warn(f"the last film is being drawn, for {FINISH_SECONDS:.0f} s at most")
                self._process.wait(FINISH_SECONDS)
                self._collect()
        except subprocess.TimeoutExpired:
            self._warn(f"warning: the last film is not drawn within {FINISH_SECONDS:.0f} s")
        finally:
            if self._process:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
