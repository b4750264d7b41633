"""`python -m mjx_sac`."""

from mjx_sac.cli import main

main()
