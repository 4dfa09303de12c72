"""What Dagster loads: everything under `defs/`, with Asgard's resources."""

from pathlib import Path

import dagster as dg

from asgard_assets.components.platform import project_definitions


@dg.definitions
def defs() -> dg.Definitions:
    return project_definitions(Path(__file__))
