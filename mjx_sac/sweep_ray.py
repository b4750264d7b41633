"""A sweep's programs on Ray Tune (extra `ray`): each is a trial of Tune's, in a process of its own, on any machine of a cluster.

Ray Tune gives out the work, watches over it and starts it again where a worker dies; what to try next is up to `sweep.py`. The
sweep's directory must be one that all machines see.
"""

# pyright: basic
import importlib.util
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from mjx_sac import job as jobs
from mjx_sac import search, sweep
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.console import say
from mjx_sac.job import Job, Outcome

_RESTARTS = 2
"""Of a program whose worker has died; it goes on from its checkpoint."""


def check() -> None:
    """Refuses Ray where it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("ray: needs Ray Tune: install the extra, as in `uv run --extra ray mjx-sac ...`")
