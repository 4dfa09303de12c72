"""A Silver table whose rows take long: Python on the server beats a file as long as the job goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from asgard_assets.components.silver import silver_asset
from asgard_assets.resources.environment import resources
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

BEAT, SECONDS = "SLOW_BEAT", "SLOW_SECONDS"


@silver(
    inputs=("bronze.usage",),
    key=("request_id",),
    description="One row a request.",
    columns={"request_id": "string"},
)
def slow(usage: DataFrame) -> DataFrame:
    """The rows as they are, after `SLOW_SECONDS`."""
    beat, seconds = os.environ[BEAT], float(os.environ[SECONDS])

    def wait(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import time

        for batch in batches:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                Path(beat).touch()
                time.sleep(0.1)
            yield batch

    return usage.select("request_id", "ds").mapInPandas(wait, "request_id string, ds string")


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(assets=[silver_asset(slow)], resources=resources(), executor=dg.in_process_executor)
