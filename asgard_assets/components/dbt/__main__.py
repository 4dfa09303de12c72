"""`python -m asgard_assets.components.dbt`: prepare manifests, or write dbt's docs site."""

import logging

from asgard_assets.components.dbt.manifest import main

logging.basicConfig(level=logging.INFO, format="%(message)s")
main()
