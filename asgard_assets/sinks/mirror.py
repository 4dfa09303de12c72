"""A table of the lake as a table of Postgres: partition by partition, with its deletes and its new columns.

A partition whose rows changed is one transaction: rows are copied beside the table, merged by key, those that the lake has
no more are deleted, and the ledger notes the partition's number. A sink that is killed has done all of a partition or
nothing, and the next one takes what is left.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.numbers import rows_of, with_foreign
from asgard_assets.lake.snapshot import Snapshot
from asgard_assets.lake.sql import identifier, quoted
from asgard_assets.quality.tables import Model
from asgard_assets.sinks.copying import line
from asgard_assets.sinks.events import connected
from asgard_assets.sinks.types import Target, widened

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_PIECE_ROWS = 5_000
_NAME = r"^[a-z_][a-z0-9_]{0,50}\.[a-z_][a-z0-9_]{0,50}$"
_LEDGER = """
create schema if not exists asgard;
create table if not exists asgard.sink_ledger (
  sink text, lake_table text, table_id text, partition text, number bigint not null, rows bigint not null,
  updated_at timestamptz not null default now(), primary key (sink, lake_table, partition)
);
"""


class MirrorSink(Model):
    """Where a table goes in Postgres, and by what its rows are known there."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Name of the sink; its asset is postgres/<name>."
    )
    table: str = Field(
        pattern=r"^[a-z0-9_]+/[a-z][a-z0-9_]*$", description="Table of the lake, such as gold/revenue_daily."
    )
    url: str = Field(
        pattern=r"^(env:|file:/|aws-secret:|vault:).+$",
        description="Reference to the address, such as env:SRC_POSTGRES with postgresql://user:password@host/db in it.",
    )
    target: str = Field(
        pattern=_NAME, description="Table in Postgres, as schema.table; made if it is missing."
    )
    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that name a row within a partition. Rows without one are an error."
    )
    partitions: Literal["all", "newest"] = Field(
        default="all",
        description="all: every partition, with ds in the key. newest: the rows of the newest one alone, as for a table "
        "that has everything each day.",
    )
    automation: Literal["on_change", "none"] = Field(
        default="on_change",
        description="on_change: a run follows each update of the table. none: no run by itself.",
    )
    description: str = Field(default="", description="What the table is for, for the catalog.")
    owners: tuple[str, ...] = Field(default=(), description="Owners. Default: ASGARD_OWNER.")


@dataclass
class Mirrored:
    """What a run changed: partitions that were merged, rows written and deleted, columns that were added."""

    partitions: list[str] = field(default_factory=list[str])
    upserted: int = 0
    deleted: int = 0
    columns: list[str] = field(default_factory=list[str])


def mirror(
    lake: Lake, sink: MirrorSink, url: str, *, before_commit: Callable[[str], None] = lambda partition: None
) -> Mirrored:
    """Bring Postgres to what the table is now. `before_commit` is told each partition.

    Raises PostgresAway, ConfigError where a column cannot become what the lake has, LakeError where there is no table.
    """
    stage, name = sink.table.split("/")
    snapshot = lake.snapshot(stage, name)
    if snapshot.delta is None:
        raise LakeError(f"{sink.name}: there is no table {sink.table} yet; build it first", table=sink.table)
    told = Mirrored()
    with connected(url, sink.name, sink.url) as connection:
        target = _prepared(connection, lake, sink, snapshot, told)
        for partition, number in _wanted(connection, sink, snapshot):
            _merge(connection, lake, sink, snapshot, target, partition, number, told)
            before_commit(partition)
            connection.commit()
            told.partitions.append(partition)
    return told


def _wanted(
    connection: pg.connection, sink: MirrorSink, snapshot: Snapshot
) -> Iterator[tuple[str, int | None]]:
    """Partitions whose rows are others than the ledger says, with their numbers; None for one that is gone."""
    now = with_foreign(rows_of(snapshot.numbers), snapshot.foreign)
    if sink.partitions == "newest" and now:
        newest = max(now)
        now = {newest: now[newest]}
    with connection.cursor() as cursor:
        cursor.execute(
            "select partition, table_id, number from asgard.sink_ledger where sink = %s and lake_table = %s",
            (sink.name, sink.table),
        )
        known = {partition: (table, number) for partition, table, number in cursor.fetchall()}
    connection.commit()
    for partition, number in sorted(now.items()):
        if known.get(partition) != (snapshot.table_id, number):
            yield partition, number
    # Behind the others: of `newest` the rows of the day before stay until those of the new day are there.
    for partition in sorted(known.keys() - now.keys()):
        yield partition, None


def _prepared(
    connection: pg.connection, lake: Lake, sink: MirrorSink, snapshot: Snapshot, told: Mirrored
) -> Target:
    """The table with the lake's columns. Raises ConfigError."""
    with lake.workbench(tables=[]) as duck:
        found = duck.execute(f"describe select * from {_scan(lake, snapshot)}").fetchall()
    columns = {str(name): str(kind) for name, kind, *_ in found}
    key = [*sink.key, DS] if sink.partitions == "all" and DS in columns else list(sink.key)
    if missing := [name for name in key if name not in columns]:
        raise ConfigError(f"{sink.name}: {sink.table} has no column {', '.join(missing)}", field="key")
    target = Target(sink.target, columns, key)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('asgard tables'))")
        cursor.execute(_LEDGER)
        cursor.execute(target.created)
        schema, _, table = sink.target.partition(".")
        cursor.execute(
            "select column_name, format_type(a.atttypid, a.atttypmod) from information_schema.columns c join pg_attribute a "
            "on a.attrelid = format('%%I.%%I', c.table_schema, c.table_name)::regclass and a.attname = c.column_name "
            "where c.table_schema = %s and c.table_name = %s",
            (schema, table),
        )
        there = dict(cursor.fetchall())
        for change in widened(target, there, sink.name):
            cursor.execute(change.statement)
            told.columns.append(change.column)
    connection.commit()
    return target


def _merge(
    connection: pg.connection,
    lake: Lake,
    sink: MirrorSink,
    snapshot: Snapshot,
    target: Target,
    partition: str,
    number: int | None,
    told: Mirrored,
) -> None:
    """One partition, in the open transaction."""
    rows = 0
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"asgard {sink.name}",))
        cursor.execute(target.staged)
        if number is not None:
            for piece in _rows(lake, snapshot, target, partition):
                cursor.copy_expert(target.copied, io.StringIO("".join(map(line, piece))))
                rows += len(piece)
        cursor.execute(target.upserted)
        told.upserted += cursor.rowcount
        # Where only the newest partition counts, rows of any other go too.
        of_it = "true" if DS not in target.key else f"old.{identifier(DS)} = {quoted(partition)}"
        if number is None and DS not in target.key:
            of_it = f"old.{identifier(DS)} = {quoted(partition)}" if DS in target.columns else "true"
        cursor.execute(f"{target.deleted} and {of_it}")
        told.deleted += cursor.rowcount
        if number is None:
            cursor.execute(
                "delete from asgard.sink_ledger where sink = %s and lake_table = %s and partition = %s",
                (sink.name, sink.table, partition),
            )
            return
        cursor.execute(
            "insert into asgard.sink_ledger (sink, lake_table, table_id, partition, number, rows) "
            "values (%s, %s, %s, %s, %s, %s) on conflict (sink, lake_table, partition) do update set "
            "table_id = excluded.table_id, number = excluded.number, rows = excluded.rows, updated_at = now()",
            (sink.name, sink.table, snapshot.table_id, partition, number, rows),
        )


def _rows(lake: Lake, snapshot: Snapshot, target: Target, partition: str) -> Iterator[list[Any]]:
    """The rows of a partition of that version, as COPY gets them."""
    where = f" where {identifier(DS)} = {quoted(partition)}" if partition else ""
    with lake.workbench(tables=[]) as duck:
        found = duck.execute(f"select {target.selected} from {_scan(lake, snapshot)}{where}")
        while piece := found.fetchmany(_PIECE_ROWS):
            yield piece


def _scan(lake: Lake, snapshot: Snapshot) -> str:
    stage, name = snapshot.table.split("/")
    return lake.delta_scan(stage, name, f"version={snapshot.version}")
