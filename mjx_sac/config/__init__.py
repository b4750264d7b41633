"""What a run is told: fields, parsing, rules between fields, one-line errors. Imports no JAX."""

from mjx_sac.config.agents import agent_names
from mjx_sac.config.errors import (
    NonFiniteError,
    TrainingError,
    UsageError,
    nearest,
    require,
    with_line,
)
from mjx_sac.config.fields import flag, mark, marked
from mjx_sac.config.paths import absolute, import_from_here, staying
from mjx_sac.config.schema import EPISODE_LENGTH, Config
from mjx_sac.config.surroundings import ordinary_jax
from mjx_sac.config.validation import build, check_even_split, layered, renamed

__all__ = [
    "EPISODE_LENGTH",
    "Config",
    "NonFiniteError",
    "TrainingError",
    "UsageError",
    "absolute",
    "agent_names",
    "build",
    "check_even_split",
    "flag",
    "import_from_here",
    "layered",
    "mark",
    "marked",
    "nearest",
    "ordinary_jax",
    "renamed",
    "require",
    "staying",
    "with_line",
]
