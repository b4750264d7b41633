"""Algorithms beside soft actor-critic, one file each, and what all of them share.

An algorithm is a module with `losses`, a `mjx_sac.Losses`. It may also define `Config`, a subclass
of `mjx_sac.Config` with more fields or other defaults, and `networks(config, action_size)`, which
returns `mjx_sac.networks.Networks`.
"""

PACKAGED = ("cql", "flashsac", "redq", "td3", "xqc")
"""What `--losses NAME` finds in this package."""
