"""`python -m asgard_assets.cli`, where no `asgard` is on the path."""

from asgard_assets.cli.main import main

main()
