"""A job as each of its tasks gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.access.service import Address, LocalService
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.payload import Schema
from asgard_assets.lake import Lake
from asgard_assets.windows import Calendar

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Job:
    """All that a task needs; pickled to it."""

    source: ApiSource
    lake: Lake
    staging_path: str
    schema: pa.Schema
    base_url: str
    service: Address | LocalService | None
    epochs: Mapping[str, int]
    run_id: str
    payload: Schema | None = None  # the typed payload's schema, where it is known
    cursors: Mapping[str, Any] = field(default_factory=dict)  # by day, where an incremental walk begins
    overlap_seconds: float = 0  # before a cursor, from which on is asked
    limit: int | None = None  # of a list's items, by day
    pages: int | None = None  # of a list, by day
    calendar: Calendar = field(default_factory=Calendar)  # of the table: what `days` are
    progress: bool = False  # whether somebody wants to know how far the tasks are
