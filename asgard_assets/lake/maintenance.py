"""Keeping tables small and quick: compact small files, write a checkpoint, remove what no reader can need.

Safe beside writers. Compaction changes no row and is a commit like any other: where a writer was faster it is
left for the next time, and a writer that finds its table compacted commits on the new snapshot. Vacuum removes
only what is older than the retention. What a killed run left in its staging folder goes earlier, once it is
older than any run may be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from asgard_assets.errors import LakeError
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.changes import lost

_STAGING = re.compile(r"^(\d{8}T\d{6})-[0-9a-f]{12}(-[a-z]+)?$")


@dataclass
class Maintained:
    """What was done to one table. `skipped` says why something was left for the next time."""

    table: str
    compacted_files: int = 0
    written_files: int = 0
    removed_files: int = 0
    removed_staging: int = 0
    skipped: list[str] = field(default_factory=list[str])


def maintain(
    lake: Lake,
    tables: list[str] | None = None,
    retention_hours: float = 168,
    staging_hours: float = 48,
    min_files: int = 8,
    dry_run: bool = False,
    now: datetime | None = None,
) -> list[Maintained]:
    """Maintain the named tables ("stage/table"), or all. A table that cannot be read is told and passed over.

    A day is compacted when it lies in `min_files` files or more. Time travel reaches back `retention_hours`.
    `staging_hours` must exceed the longest run.
    """
    if staging_hours <= 0 or retention_hours < staging_hours:
        raise LakeError("maintenance: staging_hours must be above 0 and not above retention_hours")
    known = [f"{stage}/{name}" for stage, name in lake.tables(internal=True)]
    chosen = known if tables is None else tables
    if unknown := sorted(set(chosen) - set(known)):
        raise LakeError(f"maintenance: no such table: {', '.join(unknown)}", table=unknown[0])
    moment = now or datetime.now(UTC)
    return [
        _maintain(lake, name, retention_hours, staging_hours, min_files, dry_run, moment) for name in chosen
    ]


def _maintain(
    lake: Lake,
    address: str,
    retention_hours: float,
    staging_hours: float,
    min_files: int,
    dry_run: bool,
    now: datetime,
) -> Maintained:
    from deltalake.exceptions import CommitFailedError, DeltaError

    done, (stage, name) = Maintained(address), address.split("/", 1)
    try:
        table = lake.table(stage, name)
    except DeltaError as error:
        done.skipped.append(f"cannot be read: {str(error).splitlines()[0][:200]}")
        return done
    assert table is not None
    for filters, count in _crowded(table, min_files):
        if dry_run:
            done.compacted_files += count
            continue
        try:
            figures = table.optimize.compact(
                partition_filters=filters, target_size=128 << 20, max_concurrent_tasks=2
            )
        except CommitFailedError:
            done.skipped.append("compaction: a writer was faster; the next time will do")
            table.update_incremental()
            continue
        done.compacted_files += int(figures["numFilesRemoved"])
        done.written_files += int(figures["numFilesAdded"])
    if not dry_run:
        lost.mark(lake, address)
        if table.version() > 0:
            table.create_checkpoint()
    # Of a killed run: in no log entry, and older than a run can be. What the log removed stays for time travel.
    tombstones = set(table.vacuum(0, dry_run=True, enforce_retention_duration=False))
    stale = table.vacuum(int(staging_hours), dry_run=True, enforce_retention_duration=False, full=True)
    left = [path for path in stale if path not in tombstones and _staged_before(path, now, staging_hours)]
    done.removed_staging = len(left)
    if dry_run:
        done.removed_files = len(
            table.vacuum(int(retention_hours), dry_run=True, enforce_retention_duration=False)
        )
        return done
    for path in left:
        lake.filesystem.delete_file(f"{lake.path(stage, name)}/{path}")
    done.removed_files = len(
        table.vacuum(int(retention_hours), dry_run=False, enforce_retention_duration=False)
    )
    _remove_empty(lake, stage, name, now - timedelta(hours=staging_hours))
    return done


def _crowded(table, min_files: int) -> list[tuple[list[tuple[str, str, str]] | None, int]]:
    """Days (or the whole table) that lie in many files, as partition filters, with the number of files."""
    import pyarrow as pa

    days = [f for f in table.metadata().partition_columns if f == DS]
    if not days:
        count = len(table.file_uris())
        return [(None, count)] if count >= min_files else []
    found = pa.table(table.get_add_actions(flatten=True))[f"partition.{DS}"].value_counts().to_pylist()
    return [([(DS, "=", each["values"])], each["counts"]) for each in found if each["counts"] >= min_files]


def _staged_before(path: str, now: datetime, hours: float) -> bool:
    """Whether the file lies in a staging folder that was opened so long ago."""
    opened = _opened(path.split("/", 1)[0])
    return opened is not None and opened < now - timedelta(hours=hours)


def _opened(folder: str) -> datetime | None:
    found = _STAGING.match(folder)
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None


def _remove_empty(lake: Lake, stage: str, name: str, before: datetime) -> None:
    """Staging folders in which no file is left. Object stores have none."""
    from pyarrow import fs as pafs

    if lake.remote:
        return
    for folder in lake.filesystem.get_file_info(pafs.FileSelector(lake.path(stage, name))):
        opened = _opened(folder.base_name) if folder.type == pafs.FileType.Directory else None
        if opened is None or opened >= before:
            continue
        inside = lake.filesystem.get_file_info(pafs.FileSelector(folder.path, recursive=True))
        if not any(each.type == pafs.FileType.File for each in inside):
            lake.filesystem.delete_dir(folder.path)
