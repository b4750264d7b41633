"""The command line."""

from mjx_sac.cli.app import main as main
