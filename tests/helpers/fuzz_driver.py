"""Play the cases of `fuzz`: train, evaluate, export and predict, each case in a process of its own.

A server forks itself for every case, so that JAX is imported once, and a case that dies, hangs or
changes something global harms no other. `play` starts servers and yields what came of each case.
"""

import contextlib
import importlib
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from helpers import fuzz_commands
from helpers.fuzz import Case, expected

TIMEOUT = 240.0
"""Seconds for all of a case, on a busy machine."""

TESTS = pathlib.Path(__file__).parents[1]


class Outcome(NamedTuple):
    """What came of a case.

    Attributes:
      codes: exit codes by command; the last one is where it ended.
      violations: what should not be; empty if all is well.
      line: our line on standard error.
      seconds: it took.
    """

    codes: dict[str, int]
    violations: list[str]
    line: str
    seconds: float


def play(
    cases: Iterable[Case], jobs: int = 2, real: bool = False
) -> Iterator[tuple[Case, Outcome]]:
    """Yield every case with its outcome, as they come; `real` takes SAC's own losses."""
    todo: queue.SimpleQueue[Case] = queue.SimpleQueue()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    cases = list(cases)
    for case in cases:
        todo.put(case)
    for _ in range(jobs):
        threading.Thread(target=_feed, args=(todo, done, real), daemon=True).start()
    for _ in cases:
        yield done.get()


def _feed(todo: "queue.SimpleQueue[Case]", done: "queue.SimpleQueue[Any]", real: bool) -> None:
    """Let a server play cases until there are none."""
    with _start(real) as server:
        while True:
            try:
                case = todo.get_nowait()
            except queue.Empty:
                return
            answer = ""
            with contextlib.suppress(BrokenPipeError):
                server.stdin.write(case.dumps() + "\n")
                server.stdin.flush()
                answer = server.stdout.readline()
            outcome = json.loads(answer) if answer else {"violations": ["the server has ended"]}
            done.put((case, Outcome(**{**_NOTHING, **outcome})))


_NOTHING = {"codes": {}, "violations": [], "line": "", "seconds": 0.0}


def _start(real: bool) -> Any:
    code = f"from helpers import fuzz_driver; fuzz_driver.serve(real={real})"
    paths = (os.environ.get("PYTHONPATH", ""), str(TESTS), str(TESTS.parent))
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    )


def serve(real: bool) -> None:
    """Answer each line of standard input, a case, by a line, its outcome."""
    _import_all()
    for line in sys.stdin:
        case, directory = Case(**json.loads(line)), pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
        started = time.monotonic()
        pid = os.fork()
        if not pid:
            fuzz_commands.begin(case, directory)
            return fuzz_commands.run(case, real)  # and end as any process does
        status = _wait(pid)
        outcome = judge(case, directory, status, time.monotonic() - started)
        print(json.dumps(outcome._asdict()), flush=True)
        if os.environ.get("FUZZ_KEEP"):
            print(f"case {case.index}: {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _import_all() -> None:
    """Import what every case needs, but start no backend and no thread."""
    for name in _MODULES:
        importlib.import_module(name)
    import jax

    # What is compiled runs once, and its numbers do not matter here.
    jax.config.update("jax_disable_most_optimizations", True)


_MODULES = (
    *("helpers.fuzz_jax", "mjx_sac.training.host.train", "mjx_sac.envs.host.gymnasium"),
    *("mjx_sac.policy.evaluate", "mjx_sac.policy.export", "mjx_sac.policy.statistics"),
)


def _wait(pid: int) -> int | None:
    """Return the exit code of a process; None where it had to be killed."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def judge(case: Case, directory: pathlib.Path, status: int | None, seconds: float) -> Outcome:
    """Return what came of a case, by what it left in `directory` and the process's exit code."""
    journal = directory / "journal"
    notes = (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )
    codes = {note["ends"]: note["code"] for note in notes if "ends" in note}
    begun = [note["begins"] for note in notes if "begins" in note]
    wrong = []
    if status is None:
        wrong.append(f"hangs in {begun[-1]}" if len(codes) < len(begun) else "hangs at exit")
    elif begun and begun[-1] not in codes:  # left without a word: `os._exit`
        codes[begun[-1]] = status
    elif status:
        wrong.append(f"the process ends with {status} after all was done")
    output, errors = ((directory / name).read_text(errors="replace") for name in ("out", "err"))
    ours = [
        line
        for line in errors.splitlines()
        if line.startswith("mjx-sac: ") and not line.startswith("mjx-sac: warning: ")
    ]
    wrong += _wrong_codes(case, codes, ours)
    # JAX logs what a callback raises; that is the user's to see.
    if "Traceback (most recent call last)" in output + errors and case.fault != "callback_raises":
        found = (output + errors).partition("Traceback (most recent call last)")[2]
        wrong.append(f"a traceback: {_last_line(found)}")
    if "eval" in codes and not codes["eval"]:
        wrong += _wrong_evaluation(output)
    wrong += _wrong_files(case, directory, codes)
    return Outcome(codes, wrong, " ".join(ours), round(seconds, 1))


def _last_line(text: str) -> str:
    """Return the line of a traceback that names the error."""
    lines = [
        line for line in text.splitlines() if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)
    ]
    return lines[-1][:300] if lines else text.strip()[-300:]


def _wrong_codes(case: Case, codes: dict[str, int], ours: list[str]) -> list[str]:
    """Return what is wrong with exit codes and lines."""
    wanted, wrong = expected(case), []
    phase = case.during if wanted.codes != {0} else "predict"
    for name, code in codes.items():
        right = wanted.codes if name == phase else {0}
        if name == "eval" and phase == "train":
            right = wanted.codes | {0}
        if code not in right:
            wrong.append(f"{name} ends with {code}, not {sorted(right)}")
    last = next(reversed(codes.values()), 0)
    if last in (2, 3):
        if len(ours) != 1:
            wrong.append(f"{len(ours)} lines of ours, not 1")
        elif not re.search(wanted.phrase, ours[0]):
            wrong.append(f"the line lacks {wanted.phrase!r}")
    elif not last and ours:
        wrong.append("a line of ours, though all is well")
    return wrong


def _wrong_evaluation(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if line.startswith('{"run"')]
    if len(lines) != 1:
        return [f"eval --json printed {len(lines)} objects"]
    result = json.loads(lines[0])
    if not np.isfinite(result["returns"]).all() or not 0 <= result["length"]["mean"] <= 8:
        return [f"eval: {lines[0][:200]}"]
    return []


def _wrong_files(case: Case, directory: pathlib.Path, codes: dict[str, int]) -> list[str]:
    """Return what is not where it should be, and processes that should be gone."""
    wrong = []
    if codes.get("train") == 0 and not (directory / "run/checkpoints/40").is_dir():
        wrong.append("train said done, but its last checkpoint is not there")
    if codes.get("export") == 0 and not (directory / "policy.npz").is_file():
        wrong.append("export said done, but its file is not there")
    children = directory / "children"
    for pid in map(int, children.read_text().split() if children.exists() else ()):
        if _alive(pid):
            wrong.append(f"a process that the environment started is still there ({case.fault})")
            os.kill(pid, signal.SIGKILL)
    return wrong


def _alive(pid: int) -> bool:
    """Return whether a process is there after some seconds."""
    for _ in range(30):
        status = pathlib.Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except (ProcessLookupError, FileNotFoundError):
            return False
        time.sleep(0.1)
    return True
