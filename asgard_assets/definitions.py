"""The code location: everything under `defs/`, with resources bound by environment."""

from pathlib import Path

import dagster as dg

from asgard_assets.components.dbt.sources import with_source_freshness
from asgard_assets.resources.environment import executor, resources


@dg.definitions
def defs() -> dg.Definitions:
    """Load the project. Slow libraries stay unimported until a step needs them."""
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    bound = dg.Definitions.merge(loaded, dg.Definitions(resources=resources(), executor=executor()))
    return with_source_freshness(bound)
