"""The command line, as a person types it."""

import subprocess
import sys

import pytest

from mjx_sac.cli import app


def run(capsys, *arguments, **kwargs):
    """Return exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        app.main([str(argument) for argument in arguments], **kwargs)
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


HEAVY = """
import sys
from mjx_sac.cli import main
try:
    main()
except SystemExit as stop:
    heavy = {"jax", "brax", "flax", "orbax"} & set(sys.modules)
    print(stop.code, *sorted(heavy), file=sys.stderr)
"""


def run_in_new_process(*arguments, cwd=None):
    """Run in a new process; return exit code, standard output and the heavy imports."""
    command = [sys.executable, "-c", HEAVY, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    code, *heavy = done.stderr.splitlines()[-1].split()
    return int(code), done.stdout, heavy
