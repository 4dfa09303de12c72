"""How far a run is: files, rows, share, rate and the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets.ingest.files.plan.progress import Reading, reading_of

if TYPE_CHECKING:
    from asgard_assets.lake import Lake


@dataclass(frozen=True)
class Progress:
    """Of a run that goes on. `share`: of the bytes, from 0 to 1. None: not known yet."""

    files: int
    files_total: int
    rows: int
    share: float
    rows_per_second: float | None
    seconds_left: float | None


def progress_of(lake: Lake, source: str, run_ids: Sequence[str]) -> Progress | None:
    """Of the newest of these runs that has told of itself."""
    for run_id in reversed(run_ids):
        if found := reading_of(lake, source, run_id):
            return progress(found)
    return None


def progress(found: Reading) -> Progress:
    """What a reading says."""
    share = found.bytes / found.bytes_total if found.bytes_total else 1.0
    seconds = found.updated - found.started
    rate = found.rows / seconds if seconds > 0 and found.rows else None
    left = seconds / share - seconds if share and seconds > 0 else None
    return Progress(found.files, found.files_total, found.rows, round(share, 4), rate, left)
