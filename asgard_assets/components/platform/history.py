"""Dagster's own history, bounded: old runs, their events and logs go; what is the last word on a partition stays.

Dagster has no such command. Deleting a run with `delete_run` alone also deletes the materializations of its partitions:
they would count as never built. So the tables of the event log are purged here row by row; this is the only place that
knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster import DagsterRunStatus as Status
from dagster import RunsFilter
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
from dagster._core.storage.event_log.schema import AssetEventTagsTable as Tags
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.runs.schema import SnapshotsTable as Snapshots

_ENDED = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]
_AT_ONCE = 500
_EMPTY_BYTES = 32 * 1024
"""A run's file without events is smaller, one with any is larger."""
_RUN_EVENTS = (
    "PIPELINE_START",
    "PIPELINE_SUCCESS",
    "ASSET_CHECK_EVALUATION",
    "ASSET_CHECK_EVALUATION_PLANNED",
)
"""What of a run that went well stays beside what is known of assets."""
_BUILT, _TRIED = "ASSET_MATERIALIZATION", ("ASSET_MATERIALIZATION_PLANNED", "ASSET_FAILED_TO_MATERIALIZE")


@dataclass(frozen=True)
class Purged:
    """What was removed."""

    runs: int = 0
    events: int = 0
    checks: int = 0
    snapshots: int = 0
    logs: int = 0
    """Runs that are known still, but whose log is gone."""


def purge(
    instance: dg.DagsterInstance, before: datetime, most_runs: int, most_logs: int | None = None
) -> Purged:
    """Remove runs that ended before then, and the oldest ended ones beyond `most_runs`, with their events and logs; and of
    those that stay the logs of all that went well but the newest `most_logs`.

    Kept are: the last event of each kind of each partition, such as a materialization, a failure or a change of
    freshness; the last result of each check; runs that have not ended, and those whose failure is the last that is known
    of a partition.
    """
    storage: Any = instance.event_log_storage
    if not hasattr(storage, "index_connection"):  # a storage of somebody else's, such as Dagster+
        return Purged()
    kept = _last_words(storage)
    gone = [run for run in _old_runs(instance, before, most_runs) if run not in kept.runs]
    events = sum(_purge_events(storage, runs, kept.events) for runs in _pieces(gone))
    for run in gone:
        _forget(instance, run)
    logs = 0 if most_logs is None else _purge_logs(instance, most_logs)
    checks = _purge_checks(storage, before)
    events += _purge_runless(storage, before, kept.events)
    return Purged(len(gone), events, checks, _purge_snapshots(instance), logs)


def sum_up(instance: dg.DagsterInstance, specs: Iterable[dg.AssetSpec]) -> None:
    """Dagster reads each partition of an asset when somebody opens its page for the first time, keeps the sum, and reads
    only what came since from then on. Three years of hours are 26,000 partitions: nobody should wait for them."""
    for spec in specs:
        if spec.partitions_def:
            instance.get_status_by_partition(spec.key, [], spec.partitions_def)


@dataclass(frozen=True)
class _Kept:
    events: frozenset[int]
    runs: frozenset[str]


def _last_words(storage: Any) -> _Kept:
    """The last event of each kind of each partition, but for plans and failures that a later success has made good; and the
    runs whose plan for a partition came to nothing yet."""

    kind, at = Events.c.dagster_event_type, (Events.c.asset_key, Events.c.partition)
    query = (
        db.select(db.func.max(Events.c.id), kind, *at)
        .where(Events.c.asset_key.is_not(None))
        .group_by(kind, *at)
    )
    with storage.index_connection() as connection:
        found = connection.execute(query).fetchall()
        built = {(key, part): id for id, name, key, part in found if name == _BUILT}
        failed = [id for id, name, key, part in found if name in _TRIED and id > built.get((key, part), -1)]
        done = {id for id, name, key, part in found if name in _TRIED and id < built.get((key, part), -1)}
        runs = set[str]()
        for ids in _pieces(failed):
            rows = connection.execute(db.select(Events.c.run_id).where(Events.c.id.in_(ids)))
            runs |= {row[0] for row in rows}
    return _Kept(frozenset(row[0] for row in found) - done, frozenset(runs))


def _old_runs(instance: dg.DagsterInstance, before: datetime, most: int) -> list[str]:
    ended = RunsFilter(statuses=_ENDED)
    old = {
        record.dagster_run.run_id
        for record in instance.get_run_records(RunsFilter(statuses=_ENDED, updated_before=before))
    }
    if (beyond := instance.get_runs_count(ended) - most) > 0:
        records = instance.get_run_records(ended, limit=beyond, ascending=True)
        old |= {record.dagster_run.run_id for record in records}
    return sorted(old)


def _purge_events(storage: Any, runs: Sequence[str], kept: frozenset[int]) -> int:
    """Remove the events of these runs from the index, but for the kept ones."""

    return _purge_where(storage, Events.c.run_id.in_(list(runs)), kept)


def _purge_runless(storage: Any, before: datetime, kept: frozenset[int]) -> int:
    """What was reported outside of any run, such as rows of rejected records and backlogs of sensors."""

    return _purge_where(
        storage,
        db.and_(Events.c.run_id == "", Events.c.timestamp < before.astimezone(UTC).replace(tzinfo=None)),
        kept,
    )


def _purge_where(storage: Any, chosen: Any, kept: frozenset[int]) -> int:

    with storage.index_connection() as connection:
        rows = connection.execute(db.select(Events.c.id).where(chosen)).fetchall()
        gone = [row[0] for row in rows if row[0] not in kept]
        for ids in _pieces(gone):
            connection.execute(Tags.delete().where(Tags.c.event_id.in_(ids)))
            connection.execute(Events.delete().where(Events.c.id.in_(ids)))
    return len(gone)


def _purge_logs(instance: dg.DagsterInstance, most: int) -> int:
    """Remove what was told of the steps of older runs that went well: it is most of what is stored of a run. What is known
    of assets and checks, and the run itself, stay."""
    storage: Any = instance.event_log_storage
    records = instance.get_run_records(RunsFilter(statuses=[Status.SUCCESS]))
    old = [record.dagster_run.run_id for record in records[most:]]
    if hasattr(storage, "path_for_shard"):
        found = [run for run in old if _size(Path(storage.path_for_shard(run))) > _EMPTY_BYTES]
        for run in found:
            _empty(Path(storage.path_for_shard(run)))
            instance.compute_log_manager.delete_logs(prefix=[run])
        return len(found)
    told, logs = db.and_(Events.c.asset_key.is_(None), Events.c.dagster_event_type.not_in(_RUN_EVENTS)), 0
    for runs in _pieces(old):
        gone = _purge_where(storage, db.and_(Events.c.run_id.in_(runs), told), frozenset())
        logs += len(runs) if gone else 0
    return logs


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _empty(shard: Path) -> None:
    """Put a file with the same tables and no events in the place of a run's. Without one, a webserver that knows the run
    could not show it; and a file whose events are only deleted stays as large as it is."""
    import sqlite3

    bare = shard.with_suffix(".bare")
    bare.unlink(missing_ok=True)
    with closing(sqlite3.connect(shard)) as full, closing(sqlite3.connect(bare)) as empty:
        empty.execute("pragma page_size = 1024")
        for name, made in full.execute(
            "select name, sql from sqlite_master where type = 'table' and sql not null"
        ).fetchall():
            if name in ("event_logs", "alembic_version"):
                empty.execute(made)
        for row in full.execute("select version_num from alembic_version").fetchall():
            empty.execute("insert into alembic_version values (?)", row)
        empty.commit()
    _remove_beside(shard)
    bare.replace(shard)


def _remove_beside(shard: Path) -> None:
    for file in (Path(f"{shard}-wal"), Path(f"{shard}-shm")):
        file.unlink(missing_ok=True)


def _drop_shard(storage: Any, run_id: str) -> None:
    """What SQLite keeps of a run in a file of its own."""
    shard = Path(storage.path_for_shard(run_id))
    shard.unlink(missing_ok=True)
    _remove_beside(shard)


def _forget(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run itself, its logs, and what SQLite keeps of it in a file of its own."""
    storage: Any = instance.event_log_storage
    instance.run_storage.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    if hasattr(storage, "path_for_shard"):
        _drop_shard(storage, run_id)
    storage.free_concurrency_slots_for_run(run_id)


def _purge_checks(storage: Any, before: datetime) -> int:
    """Older results of checks, but for the last of each."""

    last = db.select(db.func.max(Checks.c.id)).group_by(
        Checks.c.asset_key, Checks.c.check_name, Checks.c.partition
    )
    told = db.func.coalesce(Checks.c.evaluation_event_timestamp, Checks.c.create_timestamp)
    old = told < before.astimezone(UTC).replace(tzinfo=None)
    with storage.index_connection() as connection:
        kept = {row[0] for row in connection.execute(last)}
        found = [
            row[0] for row in connection.execute(db.select(Checks.c.id).where(old)) if row[0] not in kept
        ]
        for ids in _pieces(found):
            connection.execute(Checks.delete().where(Checks.c.id.in_(ids)))
    return len(found)


def _purge_snapshots(instance: dg.DagsterInstance) -> int:
    """Snapshots of jobs and of plans to which no run refers: each deployment of changed code makes new ones.

    A run whose snapshot is taken away in the moment in which it is made is refused, and asked for again.
    """

    storage: Any = instance.run_storage
    if not hasattr(storage, "connect"):
        return 0
    with storage.connect() as connection:  # before the runs are looked at: one that begins now keeps its own
        rows = connection.execute(db.select(Snapshots.c.snapshot_id, Snapshots.c.snapshot_type))
        there = {row[0]: row[1] for row in rows}
    used = set[str]()
    for run in instance.get_runs():
        used |= {each for each in (run.job_snapshot_id, run.execution_plan_snapshot_id) if each}
    for each in [*used & there.keys()]:
        if there[each] == "PIPELINE" and (lineage := storage.get_job_snapshot(each).lineage_snapshot):
            used.add(lineage.parent_snapshot_id)
    gone = sorted(there.keys() - used)
    with storage.connect() as connection:
        for ids in _pieces(gone):
            connection.execute(Snapshots.delete().where(Snapshots.c.snapshot_id.in_(ids)))
    return len(gone)


def _pieces(found: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(found), _AT_ONCE):
        yield list(found[start : start + _AT_ONCE])
