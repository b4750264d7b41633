"""The commands beside `train`, a file each: what they are called on the command line, and the function with Typer's annotations.

A file here turns flags into a call and its result into lines; what does the work lies elsewhere. JAX is imported inside
the functions, so that `mjx-sac --help` answers at once.
"""

from collections.abc import Callable
from typing import Any

from mjx_sac.commands.bench import bench
from mjx_sac.commands.doctor import doctor
from mjx_sac.commands.envs import envs
from mjx_sac.commands.eval import evaluate
from mjx_sac.commands.export import export
from mjx_sac.commands.info import info
from mjx_sac.commands.plot import plot
from mjx_sac.commands.record import record
from mjx_sac.commands.sweep import sweep

ALL: dict[str, Callable[..., Any]] = {
    "sweep": sweep,
    "eval": evaluate,
    "record": record,
    "plot": plot,
    "export": export,
    "info": info,
    "envs": envs,
    "doctor": doctor,
    "bench": bench,
}
