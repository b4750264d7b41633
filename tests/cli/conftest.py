"""What the tests of several commands share."""

import pytest
from helpers.runs import save_run


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The directory of a run with a checkpoint at 32 iterations, and nothing else."""
    directory = tmp_path_factory.mktemp("commands") / "saved"
    save_run(directory)
    return directory
