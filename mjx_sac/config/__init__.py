"""What a run is told: fields, parsing, rules between fields, one-line errors. Imports no JAX."""

from mjx_sac.config.errors import NonFiniteError as NonFiniteError
from mjx_sac.config.errors import TrainingError as TrainingError
from mjx_sac.config.errors import UsageError as UsageError
from mjx_sac.config.errors import nearest as nearest
from mjx_sac.config.errors import require as require
from mjx_sac.config.errors import with_line as with_line
from mjx_sac.config.fields import agent_names as agent_names
from mjx_sac.config.fields import flag as flag
from mjx_sac.config.fields import mark as mark
from mjx_sac.config.fields import marked as marked
from mjx_sac.config.fields import show as show
from mjx_sac.config.fields import typed as typed
from mjx_sac.config.paths import absolute as absolute
from mjx_sac.config.paths import import_from_here as import_from_here
from mjx_sac.config.paths import staying as staying
from mjx_sac.config.schema import EPISODE_LENGTH as EPISODE_LENGTH
from mjx_sac.config.schema import Config as Config
from mjx_sac.config.surroundings import ordinary_jax as ordinary_jax
from mjx_sac.config.validation import build as build
from mjx_sac.config.validation import check_even_split as check_even_split
from mjx_sac.config.validation import layered as layered
from mjx_sac.config.validation import renamed as renamed
