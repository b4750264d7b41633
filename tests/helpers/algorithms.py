"""The packaged algorithms with networks of their own, as small and as fast as they get."""

from flax import traverse_util

_RATES = {"policy_lr": 0.01, "q_lr": 0.01, "alpha_lr": 0.01}
_FAST = {**_RATES, "tau": 0.5, "atoms": 11}

TINY = {
    "flashsac": {"num_blocks": 1, "actor_width": 8, "critic_width": 16, **_FAST},
    "xqc": {"actor_widths": (8,), "critic_widths": (16,), **_FAST},
    "simbav2": {"actor_width": 8, "critic_width": 8, "critic_blocks": 1, **_FAST},
    "crossq": {"actor_widths": (8,), "critic_widths": (16,), **_RATES},
    "fasttd3": {"critic_widths": (16,), "policy_lr": 0.01, "q_lr": 0.01, "atoms": 11},
    "fastsac": {"critic_widths": (16,), **_FAST},
    "brc": {"actor_width": 8, "critic_width": 16, "critic_blocks": 1, **_FAST},
}
"""Changes to the configuration, by the name of the algorithm."""


def layers(tree) -> dict[str, dict]:
    """Return each layer's parameters, by the layer's path."""
    found = {}
    for (*path, leaf), value in traverse_util.flatten_dict(tree).items():
        found.setdefault("/".join(path), {})[leaf] = value
    return found
