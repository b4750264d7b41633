"""Names of the agents of one program."""

import itertools
from collections.abc import Mapping
from typing import Any


def agent_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the agents' directories, such as `seed_3` or `tau=0.01`; none for a single agent."""
    members, num_seeds = config.get("members", ()), config.get("num_seeds", 1)
    if not members and num_seeds == 1:
        return ()
    names: list[str] = []
    for member, i in itertools.product(members or ({},), range(num_seeds)):
        settings = [f"{name}={value:g}" for name, value in sorted(member.items())]
        seed = [f"seed_{config.get('seed', 0) + i}"] if num_seeds > 1 else []
        names.append(",".join(settings + seed) or "defaults")
    return tuple(names)
