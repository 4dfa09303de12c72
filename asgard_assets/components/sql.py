"""Databases as Bronze tables: one `defs.yaml` a database gives an asset for each table, with its checks."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset functions as objects.

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.source_scaffolds import SqlScaffolder
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import declared_code
from asgard_assets.components.partitions import partitions_of
from asgard_assets.components.pulls import Pull, pull_schedule
from asgard_assets.components.tables import Yielded, days_of, release, report, table_asset, unpublished
from asgard_assets.ingest.sql.source import Incremental, SqlSource, SqlTable, Windows
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import number
from asgard_assets.quality.audit import audit
from asgard_assets.settings import Settings
from asgard_assets.windows import Window, window_of

if TYPE_CHECKING:
    from asgard_assets.ingest.sql.load import Loaded

SQL_SOURCE = "sql_source"
"""Metadata of the assets: the source's configuration, by which `asgard plan`, `preview` and others find it."""


class SqlIngestModel(SqlSource):
    """What `defs.yaml` holds."""

    pull: Pull | None = Field(
        default=None,
        description='When the database is read: {every: day, at: "02:00"}, {every: 15 minutes}, {cron: …}.',
    )


class Read(Enum):
    """What a run reads."""

    changed = "changed"
    all = "all"


class SqlRunConfig(dg.Config):
    """Launchpad: what a run reads."""

    reload: Read = Field(
        default=Read.changed,
        description="changed: an incremental table goes on from its cursor. all: it reads every row again.",
    )


@dg.scaffold_with(SqlScaffolder)
class SqlIngest(dg.Component):
    """Tables, views and queries of Postgres, MySQL or MariaDB as Bronze tables, read in this process, without Spark."""

    def __init__(self, model: SqlIngestModel) -> None:
        self.model = model

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return SqlIngestModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, SqlIngestModel)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        source = SqlSource.model_validate(self.model.model_dump(by_alias=True, exclude={"pull"}))
        assets = [sql_asset(source, table) for table in source.tables]
        return dg.Definitions(assets=assets, schedules=sql_schedules(source, self.model.pull))


def sql_partitions(source: SqlSource) -> dg.PartitionsDefinition:
    """The windows of the source's tables, crossed with its second column where it has one."""
    return partitions_of(source.every, source.time_zone, source.partitions)


def sql_asset(source: SqlSource, table: SqlTable) -> dg.AssetsDefinition:
    """The Bronze asset of one table: a run reads it in one snapshot and publishes it in one commit."""
    spec = source.spec(table)
    reads_secrets = {"secrets"} if (source.database.password or "").startswith("aws-secret:") else set[str]()
    one_by_one = isinstance(table.load, Incremental)

    @table_asset(
        spec,
        name=f"sql_{spec.name}",
        partitions_def=sql_partitions(source),
        code_version=declared_code(source, table),
        extra_metadata={"reads": source.reads, SQL_SOURCE: dg.MetadataValue.json(_shown(source))},
        backfill_policy=dg.BackfillPolicy.multi_run(1) if one_by_one else dg.BackfillPolicy.single_run(),
        pool=source.pool or f"sql:{source.name}",
        required_resource_keys={"lake"} | reads_secrets,
    )
    def read_table(context: dg.AssetExecutionContext, config: SqlRunConfig) -> Iterator[Any]:
        from asgard_assets.ingest.api.source.secrets import aws_secrets
        from asgard_assets.ingest.sql.load import load

        lake: Lake = context.resources.lake.lake
        with clear_failures(), aws_secrets(context.resources.secrets.read if reads_secrets else None):
            calendar = Settings().calendar(source.every, source.time_zone)
            loaded = load(lake, source, table, days_of(context), calendar, full=config.reload is Read.all)
            yield from publish_read(context, lake, source, table, loaded)

    return read_table


def publish_read(
    context: dg.AssetExecutionContext, lake: Lake, source: SqlSource, table: SqlTable, loaded: "Loaded"
) -> Iterator[Yielded]:
    """Audit the staged rows, commit the good windows, and tell Dagster. dg.Failure names windows that break a check."""
    from asgard_assets.ingest.sql.load import commit

    spec, staging = source.spec(table), loaded.staging
    run, code = {"dagster_run_id": context.run.run_id}, number(declared_code(source, table))
    done = release(
        lake, staging, audit(lake, staging, spec), lambda good: commit(lake, loaded, good, run, code)
    )
    rows: dict[str, int] = {}
    for part in lake.live(staging.stage, staging.name):
        rows[part.day] = rows.get(part.day, 0) + part.rows
    version = {"version": done.published.version} if done.published else {}

    def about(day: str) -> dict[str, Any]:
        return {
            "dagster/partition_row_count": rows.get(day, 0),
            "read_rows": done.found.rows.get(day, 0),
            **version,
        }

    failure = None
    if done.bad:
        failure = dg.Failure(
            f"{staging.table}: {unpublished(done.bad)}",
            metadata={"bad_partitions": list(done.bad)},
            allow_retries=False,
        )
    yield from report(context, spec, done, days_of(context), about, _total(loaded) | version, failure)


def _total(loaded: "Loaded") -> dict[str, Any]:
    from dataclasses import asdict

    total: dict[str, Any] = {
        "rows": loaded.figures.rows,
        "rescued_rows": loaded.figures.rescued,
        "schema_diff": dg.MetadataValue.json([asdict(change) for change in loaded.changes]),
    }
    if loaded.notes:
        total["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in loaded.notes))
    if loaded.replaced is not None:
        total |= {
            "unchanged_rows": loaded.replaced.unchanged,
            "updated_rows": loaded.replaced.updated,
            "deleted_rows": loaded.replaced.deleted,
        }
    if loaded.cursor is not None:
        total["cursor"] = str(loaded.cursor.value)
    return total


def sql_schedules(source: SqlSource, pull: Pull | None) -> list[dg.ScheduleDefinition]:
    """The schedules that `pull` declares: one for tables that are read as they are now, one for those read by windows."""
    if pull is None:
        return []
    settings = Settings()
    calendar = settings.calendar(source.every, source.time_zone)
    by_window = [table for table in source.tables if isinstance(table.load, Windows)]
    as_now = [table for table in source.tables if table not in by_window]

    def keys(tables: list[SqlTable]) -> list[dg.AssetKey]:
        return [dg.AssetKey(["bronze", source.bronze_name(table)]) for table in tables]

    def now_only(_: Any, previous: datetime, now: datetime) -> list[Window]:
        return [calendar.window_at(now)]

    def ended(instance: dg.DagsterInstance | None, previous: datetime, now: datetime) -> list[Window]:
        """Windows that ended since the tick before, or that an earlier tick did not get; the open one where none did."""
        there = instance.get_materialized_partitions(keys(by_window)[0]) if instance else ()
        past = max(
            (w.end for w in map(calendar.window, map(window_of, there)) if w.end <= now), default=previous
        )
        since = max(min(previous, past), now - timedelta(days=settings.lookback_days))
        found = [window for window in calendar.overlapping(since, now) if window.end <= now]
        return (
            found
            if found and previous <= calendar.window_at(now).start
            else [*found, calendar.window_at(now)]
        )

    made = []
    if as_now:
        made.append(pull_schedule(source.name, pull, keys(as_now), now_only, sql_partitions(source), True))
    if by_window:
        name = f"{source.name}_windows" if as_now else source.name
        made.append(
            pull_schedule(
                name,
                pull,
                keys(by_window),
                ended,
                sql_partitions(source),
                source=source.name,
            )
        )
    return made


def current_window(source: SqlSource) -> str:
    """The window that it is now."""
    return Settings().calendar(source.every, source.time_zone).key_at(datetime.now(UTC))


def _shown(source: SqlSource) -> Mapping[str, Any]:
    """The configuration; the password in it is a reference."""
    return source.model_dump(mode="json", by_alias=True, exclude_unset=True)
