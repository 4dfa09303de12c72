"""What Dagster loads in this repository: everything under `defs/`, with the platform's resources."""

from pathlib import Path

import dagster as dg

from asgard_assets.components.platform import project_definitions
from asgard_assets.demo.settings import use_demo_settings


@dg.definitions
def defs() -> dg.Definitions:
    use_demo_settings()
    return project_definitions(Path(__file__))
