"""What a run was asked for, as one object: from the pipeline through the plan."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.lake import Lake

PROCESS_REQUESTS = 20_000
"""So many requests are sent in less time than Spark takes to start."""


@dataclass(frozen=True)
class Run:
    """One source for some days. `limit` sends no more requests a day (of a pull source: takes no more items);
    up to `process_requests` are sent by this process itself. `cursor`: an incremental source is asked from there
    on, this once.
    """

    lake: Lake
    source: ApiSource
    days: tuple[str, ...]
    mode: Mode = "auto"
    limit: int | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    process_requests: int = PROCESS_REQUESTS
    cursor: str | None = None
