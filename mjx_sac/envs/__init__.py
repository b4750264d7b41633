"""Where transitions come from: names, adapters, episodes. Importing it imports no JAX."""

from mjx_sac.envs.registry import (
    adapt,
    by_brax,
    check,
    is_gym_id,
    make,
    names,
    packaged,
    register,
    registered,
)

__all__ = [
    "adapt",
    "by_brax",
    "check",
    "is_gym_id",
    "make",
    "names",
    "packaged",
    "register",
    "registered",
]
