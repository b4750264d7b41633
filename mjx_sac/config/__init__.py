"""What a run is told: fields, parsing, rules between fields, one-line errors. Imports no JAX."""

from mjx_sac.config.errors import NonFiniteError, TrainingError, UsageError, nearest, require
from mjx_sac.config.fields import mark
from mjx_sac.config.schema import EPISODE_LENGTH, PLACES, Config, agent_names
from mjx_sac.config.validation import build, check_even_split

__all__ = [
    "EPISODE_LENGTH",
    "PLACES",
    "Config",
    "NonFiniteError",
    "TrainingError",
    "UsageError",
    "agent_names",
    "build",
    "check_even_split",
    "mark",
    "nearest",
    "require",
]
