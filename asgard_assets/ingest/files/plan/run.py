"""What a load was asked for, as one object: from the loader through the plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan.progress import Meter
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake


@dataclass(frozen=True)
class LoadRun:
    """One source for some days: what is new or changed; with `full` every file that lies there, and `again` these
    in any case. Up to `driver_files` small files are read by the driver itself. `now` stands in every row. `meter` is told
    how far the reading is.
    """

    lake: Lake
    landing: Landing
    source: FileSource
    days: tuple[str, ...]
    now: datetime
    full: bool
    again: frozenset[str]
    driver_files: int
    meter: Meter | None = None
