"""`python -m mjx_sac`."""

from mjx_sac.cli.app import main

main()
