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
from pathlib import Path
from typing import Any, Self

from mjx_sac import envs
from mjx_sac.config import Config
from mjx_sac.envs.spaces import mujoco_model
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import checkpoint_path, steps
from mjx_sac.runs.resolve import Run
from mjx_sac.training.compiled import sharding
from mjx_sac.training.compiled.experiment import RunState
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


def problem(config: Config, env: Any, *, named: bool) -> str | None:
    """Return why there will be no films that `config` asks for; `named` says whether it names the
    environment and the networks.
    """
    inner = getattr(env, "env", env)
    drawn = hasattr(env, "simulator") or (mujoco_model(inner) and hasattr(inner, "dt"))
    if not config.film_interval or (named and drawn and config.env not in envs.registered()):
        return None
    if not drawn:
        return f"env = {config.env!r} has no MuJoCo model (attributes `mj_model` and `dt`) to draw"
    return "another process draws them, which finds environments and networks by their names alone"


class Films:
    """Has films drawn, one at a time; of a population's first agent.

    Which iterations is decided by iterations alone. RUN/films/ has each film, and the policy of the
    one that is being drawn, as checkpoints have it: a resumed run draws what was interrupted.
    """

    def __init__(
        self, run: Run, header: Mapping[str, Any], monitor: Monitor, warn: Callable[[str], None]
    ) -> None:
        """Resume the film that the run was interrupted in; `warn` shows a line to the user.

        `header` is what checkpoints' manifests say.
        """
        self._config, self._monitor, self._warn = run.config, monitor, warn
        config = run.config.population()[0].model_dump(mode="json")
        self._header = {**header, "config": config}
        self._directory = run.directory / "films"
        self._process: subprocess.Popen[bytes] | None = None
        self._iterations, self._skipped, self._over = 0, False, not monitor.writes
        for step in steps(self._directory) if run.config.film_interval and monitor.writes else ():
            if step > (run.latest or 0):  # lost, with what was trained after the checkpoint
                shutil.rmtree(checkpoint_path(self._directory, step))
            elif self._process is None:
                self._start(step)

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
        if self._over or not self._monitor.alive[0]:
            return
        if self._process:
            if not self._skipped:
                self._skipped = True
                self._warn(f"a film takes longer than film_interval {interval}: some are left out")
            return
        if self._config.is_population:
            arrays = {name: x[0] for name, x in arrays.items()}
        try:
            self._write(now, arrays)
            self._start(now)
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _write(self, iterations: int, arrays: Mapping[str, Any]) -> None:
        target = checkpoint_path(self._directory, iterations)
        new = target.with_name("new")
        for old in (new, target):  # of a process that was killed
            shutil.rmtree(old, ignore_errors=True)
        (new / "policy").mkdir(parents=True)
        header = {"iterations": iterations, **self._header}
        array_store.write(new / "policy", arrays, header, None)
        new.rename(target)

    def _start(self, iterations: int) -> None:
        self._iterations = iterations
        where = ("--step", str(iterations), "--out", str(self._path))
        how = ("--seconds", str(SECONDS), "--device", "cpu")
        command = (sys.executable, "-P", "-c", _COMMAND, str(DRAWING_SECONDS), "record")
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(self._directory), *where, *how],
                # It finds what this process finds.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for training. (In a session of its own `nice` would have no effect.)
                process_group=0,
            )

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._iterations}.gif"

    def _collect(self) -> None:
        """Log the film, if it is done."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        self._process = None
        try:
            if code:
                return self._give_up(self._reason(code))
            self._monitor.film(self._iterations, self._path)
            shutil.rmtree(checkpoint_path(self._directory, self._iterations))
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _reason(self, code: int) -> str:
        if code == -signal.SIGALRM:
            return f"not drawn within {DRAWING_SECONDS} s"
        if code < 0:
            return f"its process was ended by signal {-code}"
        said = (self._directory / "log").read_text("utf-8", errors="replace").strip()
        return said.rpartition("\n")[2].removeprefix("mjx-sac: ")

    def _give_up(self, reason: str) -> None:
        self._over = True
        self._warn(f"warning: no films from here on: {reason} ({self._directory}/log says more)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last film, where training has not failed."""
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
