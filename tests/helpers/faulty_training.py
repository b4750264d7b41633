"""A training process that a fault befalls: `python faulty_training.py '<JSON>'`.

The JSON holds `config` (changes to SMALL) and one fault:

    {"signal": 15, "phase": "training"}   the signal when that phase begins; "times": 2 sends two
    {"signal": 9, "phase": "saving", "nth": 2, "tracked": 128}   the second time, and when three
                           trackers have logged so many iterations; "saved": 64 likewise waits
                           until that checkpoint is whole
    {"drawn_for": 600}     and films take so many seconds longer, whatever else the machine does
    {"kill_write": 3}      SIGKILL in the middle of the third file that a checkpoint writes
    {"kill_after": 0.7}    SIGKILL so many seconds after the first checkpoint began to be written
    {"quota": 2}           no file can grow any more from the second checkpoint on
    {"disk_full": 2}       another file fills the disk from the second training epoch on
    {"nan": "state" | "reward" | "all" | "loss"}
    {"report": true}       no fault: what callbacks are called with, as lines of JSON
"""

import collections
import contextlib
import functools
import json
import os
import pathlib
import resource
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
CACHE = os.environ.get("XDG_CACHE_HOME")  # conftest would make a fresh one for every process

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from helpers import runs  # noqa: E402
from helpers.envs import Counter  # noqa: E402
from helpers.runs import COUNTER  # noqa: E402

if CACHE:
    os.environ["XDG_CACHE_HOME"] = CACHE

from mjx_sac.cli import app  # noqa: E402
from mjx_sac.losses import Losses, critic_loss  # noqa: E402
from mjx_sac.runs import array_store  # noqa: E402
from mjx_sac.runs.directory import steps  # noqa: E402
from mjx_sac.training.host import films, train  # noqa: E402
from mjx_sac.training.host.console import Console  # noqa: E402


class Breaking(Counter):
    """Its `part` turns NaN in episodes that start in the upper half ("all": in every one)."""

    part = os.environ.get("NAN_IN", "")

    def reset(self, key):
        state = super().reset(key)
        return state.replace(inner=(*state.inner, jnp.float32(0.0)))

    def step(self, state, action):
        hidden = state.inner[-1]
        new, step = super().step(state.replace(inner=state.inner[:-1]), action)
        breaks = (new.inner[0] == 2) & (state.observation[0] > 0.5)
        bad = jnp.where(breaks | (self.part == "all"), jnp.nan, 0.0)
        if self.part in ("reward", "all"):
            step = step._replace(reward=step.reward + bad)
        return new.replace(
            inner=(*new.inner, hidden + (bad if self.part == "state" else 0.0))
        ), step


def breaking_loss(params, state, batch, key, *, networks, config):
    """NaN from the second trained epoch on."""
    loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
    return jnp.where(state.critic_optimizer[0].count >= 32, jnp.nan, 1.0) * loss, metrics


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill(logdir: pathlib.Path) -> None:
    with contextlib.suppress(OSError), (logdir / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def wait_for_trackers(logdir: pathlib.Path, iterations: int) -> None:
    """Wait until the three of them have logged until `iterations`."""
    deadline = time.monotonic() + 200
    while True:
        records = [json.loads(path.read_text()) for path in logdir.glob("tracking/*.json")]
        if [one["runs"][""]["logged"] for one in records] == [iterations] * 3:
            return
        assert time.monotonic() < deadline, records
        time.sleep(0.1)


def befall(fault: dict, name: str, counts: collections.Counter) -> None:
    """Do what is to happen when the phase `name` begins."""
    if name == fault.get("phase") and counts[name] == fault.get("nth", 1):
        while "saved" in fault and fault["saved"] not in steps(pathlib.Path(fault["logdir"])):
            time.sleep(0.1)
        if "tracked" in fault:
            wait_for_trackers(pathlib.Path(fault["logdir"]), fault["tracked"])
        for _ in range(fault.get("times", 1)):
            os.kill(os.getpid(), fault["signal"])
    if counts["training"] == fault.get("disk_full"):
        fill(pathlib.Path(fault["logdir"]))
    if counts["saving"] == fault.get("quota"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    if name == "saving" and counts["saving"] == 1 and "kill_after" in fault:
        threading.Timer(fault["kill_after"], kill).start()


def arm(fault: dict) -> None:
    """Put the fault in its place."""
    phase, write = Console.phase, array_store._write
    counts = collections.Counter()

    def at_phase(self, name):
        phase(self, name)
        counts[name] += 1
        befall(fault, name, counts)

    count = 0

    def at_write(path, data):
        nonlocal count
        count += 1
        if count == fault.get("kill_write"):
            path.write_bytes(data[: len(data) // 2])
            kill()
        write(path, data)

    Console.phase, array_store._write = at_phase, at_write
    if "drawn_for" in fault:
        wait = f"import time; time.sleep({fault['drawn_for']})"
        films._COMMAND = films._COMMAND.replace("os.nice(19)", wait)


def report(iterations, metrics, state) -> None:
    """Print what a callback sees."""
    seen = {tag: np.asarray(x).tolist() for tag, x in metrics.items()}
    print(json.dumps({"iterations": iterations, **seen}, sort_keys=True), flush=True)


def main() -> None:
    """Train from the command line, as users do."""
    request = json.loads(sys.argv[1])
    fault = request.get("fault", {})
    arm({**fault, "logdir": request["config"]["logdir"]})
    nan = fault.get("nan")
    if fault.get("report"):
        train.train = functools.partial(train.train, callbacks=[report])
    os.environ["NAN_IN"] = nan or ""  # for the environment, which is imported by name
    breaking = nan in ("state", "reward", "all")
    env = "helpers.faulty_training:Breaking" if breaking else COUNTER
    losses = Losses(critic=breaking_loss) if nan == "loss" else None
    flags = runs.flags(**{"env": env, **request["config"]})
    app.main(["train", *flags, *request.get("flags", [])], losses=losses)


if __name__ == "__main__":
    main()
