"""Fixtures for faults: training processes, and the table of what they survive.

`RENEW_DOCS=1 pytest -n0 tests/faults` writes the table into docs/reliability.md, in one process
because it is one table. Nothing is asserted about it.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reliability.md"
SCRIPT = pathlib.Path(__file__).parents[1] / "helpers" / "faulty_training.py"
ROWS: dict[str, str] = {}
"""The table's rows by case, filled by the tests."""


@pytest.fixture(scope="session", autouse=True)
def _renew_docs(request):
    yield
    if os.environ.get("RENEW_DOCS") and not request.session.testsfailed:
        PAGE.write_text(with_table(PAGE.read_text(), "\n".join(ROWS.values())))


def with_table(text: str, rows: str) -> str:
    table = f"| what happens | lost | what the command says |\n|---|---|---|\n{rows}"
    pattern = r"(<!-- faults -->\n).*?(<!-- /faults -->)"
    return re.sub(pattern, lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.S)


@pytest.fixture
def outcome():
    """Call it when the case has been shown: what was lost, and what the user read."""

    def record(case: str, lost: str, message: str) -> None:
        message = re.sub(r"/\S*/(?=run\b)", "", " ".join(message.split())).replace("|", "\\|")
        message = re.sub(r"process \d+ on \S+", "process 4711 on host", message)
        message = re.sub(r"[0-9a-f]{64}", "3b5d...", message)
        ROWS[case] = f"| {case} | {lost} | {message} |"

    return record


@pytest.fixture(scope="session")
def start():
    """Start a training process: `start(logdir, fault, *flags, **config)`."""

    def start(logdir, fault=None, *flags, stdout=subprocess.PIPE, environment=None, **config):
        config = {"logdir": str(logdir), **config}
        request = json.dumps({"config": config, "fault": fault or {}, "flags": flags})
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), request],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    return start


@pytest.fixture(scope="session")
def run(start):
    """Run one to its end: exit code, standard output, standard error's last line and all of it."""

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
