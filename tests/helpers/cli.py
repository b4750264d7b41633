"""The command line, as a person types it."""

import pytest

from mjx_sac.cli import app


def run(capsys, *arguments, **kwargs):
    """Return exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        app.main([str(argument) for argument in arguments], **kwargs)
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err
