"""A stream's Bronze table in Postgres: `raw.api_events`, the newest record of each key.

One transaction copies the new rows into `raw.api_events_stage`, upserts them, deletes what was deleted, and moves the
ledger: how far each partition of the topic is. A sink that is killed has done all of a batch or nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from asgard_assets.errors import ConfigError, LakeError, SourceError, Transient
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import identifier, literally, quoted
from asgard_assets.quality.tables import Model
from asgard_assets.sinks.copying import line

if TYPE_CHECKING:
    import psycopg2.extensions as pg

BATCH_ROWS = 100_000
_PIECE_ROWS = 5_000
_NAME = r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$"
_COLUMNS = (
    "source",
    "external_id",
    "payload",
    "deleted",
    "pulled_at",
    "topic_id",
    "kafka_partition",
    "kafka_offset",
)
_TABLES = """
create schema if not exists {schema};
create table if not exists {table} (
  id bigserial primary key,
  source text not null,
  external_id text,
  payload jsonb not null,
  pulled_at timestamptz not null default now(),
  unique (source, external_id)
);
create unlogged table if not exists {table}_stage (
  source text, external_id text, payload text, deleted boolean, pulled_at timestamptz, topic_id text,
  kafka_partition int, kafka_offset bigint
);
create table if not exists {table}_refused (
  source text, external_id text, payload text, reason text, topic_id text, kafka_partition int, kafka_offset bigint,
  refused_at timestamptz not null default now(), primary key (topic_id, kafka_partition, kafka_offset)
);
create table if not exists {table}_ledger (
  sink text, lake_table text, topic_id text, kafka_partition int, kafka_offset bigint not null,
  updated_at timestamptz not null default now(), primary key (sink, lake_table, topic_id, kafka_partition)
);
create or replace function {schema}.asgard_json_problem(told text) returns text language plpgsql as $$
begin
  perform told::jsonb;
  return null;
exception when others then
  return sqlerrm;
end $$;
"""
_NEWEST = """
select distinct on (source, external_id) * from {table}_stage
order by source, external_id, pulled_at desc nulls last, kafka_partition, kafka_offset desc
"""
_UPSERT = """
insert into {table} as old (source, external_id, payload, pulled_at)
select source, external_id, payload::jsonb, coalesce(pulled_at, now()) from ({newest}) newest where not deleted
on conflict (source, external_id) do update set payload = excluded.payload, pulled_at = excluded.pulled_at
where old.pulled_at <= excluded.pulled_at
"""
_DELETE = """
delete from {table} old using ({newest}) newest
where newest.deleted and old.source = newest.source and old.external_id = newest.external_id
and old.pulled_at <= coalesce(newest.pulled_at, now())
"""
_REFUSE = """
with found as (
  select *, {schema}.asgard_json_problem(payload) as reason from {table}_stage where not deleted
), gone as (
  delete from {table}_stage stage using found
  where found.reason is not null and (stage.topic_id, stage.kafka_partition, stage.kafka_offset)
    = (found.topic_id, found.kafka_partition, found.kafka_offset)
)
insert into {table}_refused (source, external_id, payload, reason, topic_id, kafka_partition, kafka_offset)
select source, external_id, payload, reason, topic_id, kafka_partition, kafka_offset from found where reason is not null
on conflict do nothing
"""


class PostgresAway(Transient, SourceError):
    """Postgres cannot be reached, or ended the connection."""


class EventsSink(Model):
    """Where a stream's table goes in Postgres."""

    type: Literal["api_events"] = Field(
        default="api_events", description="api_events: the newest record of each key, as JSON."
    )
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Name of the sink; its asset is postgres/<name>."
    )
    table: str = Field(
        pattern=r"^[a-z0-9_]+/[a-z][a-z0-9_]*$", description="Table of a stream, such as bronze/orders."
    )
    url: str = Field(
        pattern=r"^(env:|file:/|aws-secret:|vault:).+$",
        description="Reference to the address, such as env:SRC_POSTGRES with postgresql://user:password@host/db in it.",
    )
    target: str = Field(
        default="raw.api_events", pattern=_NAME, description="Table in Postgres, as schema.table."
    )
    description: str = Field(default="", description="What the table is for, for the catalog.")
    owners: tuple[str, ...] = Field(default=(), description="Owners. Default: ASGARD_OWNER.")


@dataclass
class Sunk:
    """What a run moved: rows read, keys written or deleted, records that Postgres refused."""

    rows: int = 0
    upserted: int = 0
    deleted: int = 0
    refused: int = 0
    batches: int = 0
    offsets: dict[str, int] = field(default_factory=dict)


def sink_events(
    lake: Lake,
    sink: EventsSink,
    url: str,
    *,
    batch_rows: int = BATCH_ROWS,
    before_commit: Callable[[int], None] = lambda batch: None,
) -> Sunk:
    """Move what the table has and Postgres has not. `before_commit` is told the number of each batch.

    Raises PostgresAway, LakeError where the table is no stream's.
    """
    told = Sunk()
    with connected(url, sink.name, sink.url) as connection:
        _prepare(connection, sink)
        while _batch(connection, lake, sink, batch_rows, told, before_commit) == batch_rows:
            pass
    return told


@contextmanager
def connected(url: str, name: str, reference: str, seconds: int = 30) -> Iterator[pg.connection]:
    """A connection for the block. Raises PostgresAway where Postgres does not answer, or ends it; ConfigError where the
    address is none."""
    import psycopg2

    _refuse_no_address(url, name, reference)
    try:
        connection = psycopg2.connect(url, application_name=f"asgard {name}", connect_timeout=seconds)
        try:
            yield connection
        finally:
            connection.close()
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise PostgresAway(
            f"{name}: Postgres cannot be reached: {str(error).strip()}. Check the address behind {reference}; "
            "what was committed stays, and the next run goes on",
            source=name,
        ) from error


def _refuse_no_address(url: str, name: str, reference: str) -> None:
    """Raises ConfigError, without the address: libpq's own words hold pieces of the password."""
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    try:
        told = parse_dsn(url)
    except ProgrammingError:
        told = {"port": "none"}
    port = told.get("port") or "0"
    if not port.replace(",", "0").isdecimal() or "@" in (told.get("host") or ""):
        raise ConfigError(
            f"{name}: what {reference} holds is no address of Postgres. Write postgresql://user:password@host:5432/database, "
            "with / as %2F, @ as %40 and % as %25 in the password"
        )


def _batch(
    connection: pg.connection,
    lake: Lake,
    sink: EventsSink,
    batch_rows: int,
    told: Sunk,
    before_commit: Callable[[int], None],
) -> int:
    """One transaction; returns how many rows it moved."""
    names = _names(sink)
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"asgard {sink.name}",))
        cursor.execute(
            f"select topic_id, kafka_partition, kafka_offset from {names['table']}_ledger where sink = %s and lake_table = %s",
            (sink.name, sink.table),
        )
        ledger = {(topic, part): offset for topic, part, offset in cursor.fetchall()}
        cursor.execute(f"truncate {names['table']}_stage")
        ends, rows = dict(ledger), 0
        for piece in _new_rows(lake, sink, ledger, batch_rows):
            cursor.copy_expert(
                f"copy {names['table']}_stage from stdin", io.StringIO("".join(map(line, piece)))
            )
            rows += len(piece)
            for row in piece:
                ends[row[5], row[6]] = max(ends.get((row[5], row[6]), 0), row[7] + 1)
        if not rows:
            return 0
        _merge(cursor, names, told)
        for (topic, part), end in ends.items():
            cursor.execute(
                f"insert into {names['table']}_ledger (sink, lake_table, topic_id, kafka_partition, kafka_offset) "
                "values (%s, %s, %s, %s, %s) on conflict (sink, lake_table, topic_id, kafka_partition) "
                "do update set kafka_offset = excluded.kafka_offset, updated_at = now()",
                (sink.name, sink.table, topic, part, end),
            )
            told.offsets[f"{topic}/{part}"] = end
        before_commit(told.batches)
    told.rows += rows
    told.batches += 1
    return rows


def _merge(cursor: pg.cursor, names: Mapping[str, str], told: Sunk) -> None:
    """The stage into the table. Records that are no JSON to Postgres are put aside, and the others go on."""
    import psycopg2

    cursor.execute("savepoint merging")
    try:
        cursor.execute(_UPSERT.format(**names))
    except psycopg2.Error as error:
        if isinstance(error, psycopg2.OperationalError) and not error.pgcode:
            raise
        cursor.execute("rollback to savepoint merging")
        cursor.execute(_REFUSE.format(**names))
        told.refused += max(0, cursor.rowcount)
        cursor.execute(_UPSERT.format(**names))
    told.upserted += cursor.rowcount
    cursor.execute(_DELETE.format(**names))
    told.deleted += cursor.rowcount


def _new_rows(
    lake: Lake, sink: EventsSink, ledger: Mapping[tuple[str, int], int], most: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows behind the ledger, of each partition the first ones first."""
    stage, name = sink.table.split("/")
    table = lake.table(stage, name)
    if table is None:
        return
    known = {each.name for each in table.schema().fields}
    if missing := [column for column in _COLUMNS if column not in known]:
        raise LakeError(
            f"{sink.name}: {sink.table} has no column {', '.join(missing)}: it is no table of a stream. "
            "type: api_events takes those of KafkaIngest",
            table=sink.table,
        )
    files = [part.uri for part in lake.live(stage, name)]
    if not files:
        return
    behind = "".join(
        f" when topic_id = {quoted(topic)} and kafka_partition = {part:d} then {offset:d}"
        for (topic, part), offset in ledger.items()
    )
    wanted = f"kafka_offset >= case{behind} else 0 end" if ledger else "true"
    query = (
        f"select {', '.join(map(identifier, _COLUMNS))} from read_parquet([{', '.join(quoted(literally(f)) for f in files)}], "
        f"union_by_name = true) where {wanted} order by kafka_offset, kafka_partition limit {most:d}"
    )
    with lake.workbench(tables=[], paths=()) as connection:
        found = connection.execute(query)
        while piece := found.fetchmany(_PIECE_ROWS):
            yield piece


def _prepare(connection: pg.connection, sink: EventsSink) -> None:
    names = _names(sink)
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('asgard tables'))")
        cursor.execute(_TABLES.format(**names))


def _names(sink: EventsSink) -> dict[str, str]:
    schema, _, _ = sink.target.partition(".")
    return {"schema": schema, "table": sink.target, "newest": _NEWEST.format(table=sink.target)}
