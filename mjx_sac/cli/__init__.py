"""The command line."""

from mjx_sac.cli.app import main

__all__ = ["main"]
