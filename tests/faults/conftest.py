"""Fixtures of every test of a fault: training processes, and the table of what they survive.

The table in docs/reliability.md is made of what the tests say. `RENEW_DOCS=1 pytest -n0 tests/faults`
writes it, in one process because it is one table; without it every row must be there.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reliability.md"
ROWS: dict[str, str] = {}
"""The table of what becomes of a run, filled by the tests."""


@pytest.fixture(scope="session", autouse=True)
def _renew_page(request):
    yield
    if os.environ.get("RENEW_DOCS") and not request.session.testsfailed:
        PAGE.write_text(with_table(PAGE.read_text(), "\n".join(ROWS.values())))


def with_table(text: str, rows: str) -> str:
    table = f"| what happens | lost | what the command says |\n|---|---|---|\n{rows}"
    return re.sub(
        r"(<!-- faults -->\n).*?(<!-- /faults -->)",
        lambda m: f"{m[1]}\n{table}\n\n{m[2]}",
        text,
        flags=re.S,
    )


@pytest.fixture
def outcome():
    """Call it when the case has been shown: what was lost, and the words that the user read."""

    def record(case: str, lost: str, told: str) -> None:
        told = re.sub(r"/\S*/(?=run\b)", "", " ".join(told.split())).replace("|", "\\|")
        told = re.sub(
            r"process \d+ on \S+", "process 4711 on host", re.sub(r"[0-9a-f]{64}", "3b5d...", told)
        )
        ROWS[case] = f"| {case} | {lost} | {told} |"
        if not os.environ.get("RENEW_DOCS"):
            assert ROWS[case] in PAGE.read_text(), "run RENEW_DOCS=1 pytest -n0 tests/faults"

    return record


@pytest.fixture(scope="session")
def start():
    """Starts a training process: `start(logdir, fault, *flags, **config)`."""

    def start(logdir, fault=None, *flags, stdout=subprocess.PIPE, environment=None, **config):
        request = {
            "config": {"logdir": str(logdir), **config},
            "fault": fault or {},
            "flags": flags,
        }
        command = [
            sys.executable,
            str(pathlib.Path(__file__).parents[1] / "helpers" / "faulty_training.py"),
            json.dumps(request),
        ]
        env = {**os.environ, **(environment or {})}
        return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env)

    return start


@pytest.fixture(scope="session")
def run(start):
    """Runs one to its end: exit code, standard output, and the last line of standard error."""

    def run(*args, **kwargs):
        process = start(*args, **kwargs)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, (err.strip().splitlines() or [""])[-1], err

    return run


@pytest.fixture(scope="session")
def whole(run, tmp_path_factory):
    """A run of four epochs that nothing befell."""
    logdir = tmp_path_factory.mktemp("whole") / "run"
    code, _, _, err = run(logdir)
    assert code == 0, err
    return logdir
