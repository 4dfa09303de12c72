"""A table of a database becomes a Bronze table: read in one snapshot, staged, and published by one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.secrets import resolve
from asgard_assets.ingest.files.shape.fitting import retyped
from asgard_assets.ingest.files.shape.schema import Change, record
from asgard_assets.ingest.files.source.types import normal, unify
from asgard_assets.ingest.sql.fields import Dialect, Field, Session
from asgard_assets.ingest.sql.reading import Figures, Query, Reading
from asgard_assets.ingest.sql.replacing import Replaced, replace_rows
from asgard_assets.ingest.sql.shape import Shape, present_columns, shape_of
from asgard_assets.ingest.sql.source import VOLATILE, Incremental, Snapshot, SqlSource, SqlTable, Windows
from asgard_assets.ingest.sql.state import Cursor, cursor_id, read_cursor, write_cursor
from asgard_assets.lake import Lake, Published, Staging
from asgard_assets.lake.arrow import without_pandas
from asgard_assets.lake.reads import Reads
from asgard_assets.windows import Calendar, value_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Loaded:
    """Staged rows, ready to be audited and committed. `cursor`: where the table stands after the commit."""

    name: str
    staging: Staging
    shape: Shape
    figures: Figures
    notes: Sequence[str] = ()
    before: Cursor | None = None
    cursor: Cursor | None = None
    replaced: Replaced | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.shape.changes


def load(
    lake: Lake,
    source: SqlSource,
    table: SqlTable,
    days: Sequence[str],
    calendar: Calendar,
    *,
    full: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Loaded:
    """Read the table into staging. `full`: an incremental table from the beginning.

    Raises AwayError where the database does not answer, ConfigError where it has no such table or column, or where a
    window is asked for that nobody can know any more.
    """
    without_pandas()
    now = clock()
    refuse_days(source, table, days, calendar.key_at(now))
    name = source.bronze_name(table)
    seen = lake.epochs("bronze", name, days)
    before = read_cursor(lake, name) if isinstance(table.load, Incremental) else None
    dialect = dialect_of(source)
    relation = dialect.relation(table.table, table.query, source.db_schema)
    with dialect.sessions(source.connections if table.split else 1, relation) as sessions:
        found = sessions[0].describe(relation)
        shape = shape_of(name, table, found, present_in(lake, name), source.second)
        staging = lake.stage("bronze", name, shape.schema, days, seen, dimension=source.second)
        reading = Reading(dialect, lake, staging, name, source.chunk_mb << 20, now, shape.numbered)
        try:
            return _read(
                reading, sessions, table, shape, found, relation, calendar, None if full else before, before
            )
        except BaseException:
            lake.discard(staging)
            raise


def _read(
    reading: Reading,
    sessions: Sequence[Session],
    table: SqlTable,
    shape: Shape,
    found: Sequence[Field],
    relation: str,
    calendar: Calendar,
    since: Cursor | None,
    before: Cursor | None,
) -> Loaded:
    lake, staging, name, dialect = reading.lake, reading.staging, reading.source, reading.dialect
    done = Loaded(name, staging, shape, reading.figures, dialect.notes)
    if not isinstance(table.load, Incremental) or before is None:
        for day in staging.days:
            conditions = (
                [window_condition(dialect, table, found, calendar, window_of(day))]
                if isinstance(table.load, Windows)
                else []
            )
            if staging.dimension:
                conditions.append(value_condition(dialect, name, found, staging.dimension, value_of(day)))
            where = " and ".join(conditions)
            reading.read(sessions, Query(relation, shape.fields, where, day), table.split)
        return done
    column = _cursor_field(name, table.load, found)
    where = since_condition(dialect, column, table.load, since.value if since else None)
    (day,) = staging.days
    reading.read(sessions, Query(relation, shape.fields, where, day), table.split)
    value = _greatest(dialect, sessions[0], column, relation, before)
    keys = (
        _all_keys(reading, sessions[0], table, shape, relation) if table.load.deletes == "compare" else None
    )
    cursor = write_cursor(lake, name, before, value)
    if shape.retype:
        retype(lake, staging)
    replaced = replace_rows(lake, staging, _spelled(table.key, shape), keys)
    return replace(done, before=before, cursor=cursor, replaced=replaced)


def commit(
    lake: Lake,
    loaded: Loaded,
    good: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
    code: int = 0,
) -> Published | None:
    """Make the good windows visible in one commit. Raises FencedError where another load was first. `code` is the version
    of the YAML that they were read by."""
    if not good:
        return None
    staging = loaded.staging
    if loaded.cursor is None or loaded.before is None or loaded.replaced is None:
        if loaded.shape.retype:
            retype(lake, staging)
        reads = Reads(code=code) if code else None
        published = lake.publish(staging, list(good), metadata=metadata, volatile=VOLATILE, reads=reads)
        number = published.version
    else:
        moved = {cursor_id(loaded.name): (loaded.before.number, loaded.cursor.number)}
        published = lake.amend(staging, loaded.replaced, moved, list(good), metadata, VOLATILE, code)
        number = loaded.cursor.number
    record(lake, loaded.name, loaded.shape.columns, loaded.changes, loaded.shape.absent, number)
    return published


def dialect_of(source: SqlSource) -> Dialect:
    """The database of a source, with its password. Raises ConfigError where the secret is not there."""
    server = source.database
    password = resolve(server.password, source.name).value if server.password else None
    if server.type == "postgres":
        from asgard_assets.ingest.sql.postgres import Postgres

        return Postgres(server, password, source.name, source.statement_timeout_seconds)
    from asgard_assets.ingest.sql.mysql import MySql

    return MySql(server, password, source.name, source.statement_timeout_seconds)


def present_in(lake: Lake, name: str) -> dict[str, pa.DataType]:
    """The database's columns that the Bronze table has; none where there is no table."""
    import pyarrow as pa

    table = lake.table("bronze", name)
    return present_columns(pa.schema(table.schema().to_arrow())) if table else {}


def refuse_days(source: SqlSource, table: SqlTable, days: Sequence[str], current: str) -> None:
    """Raises ConfigError for windows of which the database cannot tell: it knows how things are now."""
    name = source.bronze_name(table)
    if isinstance(table.load, Snapshot) and (other := [day for day in days if window_of(day) != current]):
        raise ConfigError(
            f"{name}: a snapshot has no history: the database tells how things are now, so that only {current} can be "
            f"asked for, not {', '.join(other[:5])}{' …' if len(other) > 5 else ''}"
        )
    if isinstance(table.load, Incremental) and len(days) > 1:
        raise ConfigError(
            f"{name}: an incremental table takes one window at a time, not {len(days)}: what changed since the cursor "
            "cannot be told apart by windows"
        )


def window_condition(
    dialect: Dialect, table: SqlTable, found: Sequence[Field], calendar: Calendar, day: str
) -> str:
    """Rows of one window. Raises ConfigError where the column is no date or time."""
    assert isinstance(table.load, Windows)
    column = next((f for f in found if f.name.lower() == table.load.column.lower()), None)
    if column is None or str(column.type) not in ("date32[day]", "timestamp[us, tz=UTC]"):
        raise ConfigError(
            f"`load.column` must be a date or timestamp; {table.load.column} is {column.native if column else 'not there'}"
        )
    window = calendar.window(day)
    if str(column.type).startswith("date"):
        ends = [moment.astimezone(calendar.zone).date().isoformat() for moment in (window.start, window.end)]
        if calendar.every == "hour":
            raise ConfigError(f"{table.load.column} is a date, which names no hour; set every: day")
    else:
        zone = "+00" if column.native.endswith("with time zone") else ""
        ends = [f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}{zone}" for moment in (window.start, window.end)]
    start, end = (dialect.literal(column, text) for text in ends)
    return f"{column.column} >= {start} and {column.column} < {end}"


def value_condition(dialect: Dialect, name: str, found: Sequence[Field], second: str, value: str) -> str:
    """Rows of one value of the second column. Raises ConfigError where the database has no such column of text."""
    column = next((f for f in found if f.name.lower() == second), None)
    if column is None or str(column.type) != "string":
        raise ConfigError(
            f"{name}: `partitions` needs a column {second} of text; it is {column.native if column else 'not there'}. Name it so in "
            "a `query`"
        )
    return f"{column.column} = {dialect.literal(column, value)}"


def since_condition(dialect: Dialect, column: Field, load: Incremental, value: str | None) -> str:
    """Rows that changed since the cursor, those with its own value and those without one too; empty: all rows."""
    if value is None:
        return ""
    literal = dialect.literal(column, value)
    seconds = load.overlap_seconds
    timed = str(column.type).startswith(("timestamp", "date"))
    if seconds is not None and not timed:
        raise ConfigError(f"the overlap of {column.name} ({column.native}) is a number, not {load.overlap!r}")
    amount = float(load.overlap) if seconds is None else seconds
    if str(column.type).startswith("date") and seconds is not None:
        amount = -(-seconds // 86400)
    if amount and str(column.type) == "string":
        raise ConfigError(f"{column.name} is text, which has no overlap; take a number or a time as cursor")
    if amount:
        literal = dialect.earlier(column, literal, int(amount) if amount == int(amount) else amount)
    return f"({dialect.ordered(column)} >= {literal} or {column.column} is null)"


def retype(lake: Lake, staging: Staging) -> None:
    """Give the table the wider types; where another load already did so there is nothing to do."""
    import pyarrow as pa

    wide = {f.name: f.type for f in staging.schema}

    def widened(now: pa.Schema) -> pa.Schema:
        held = {f.name for f in now if f.name in wide and unify(normal(f.type), wide[f.name]) == wide[f.name]}
        return pa.schema([pa.field(f.name, wide[f.name]) if f.name in held else f for f in now])

    lake.retype(staging.stage, staging.name, widened, retyped)


_CURSORS = ("int", "decimal", "date", "timestamp", "string")


def _cursor_field(name: str, load: Incremental, found: Sequence[Field]) -> Field:
    column = next((f for f in found if f.name.lower() == load.cursor.lower()), None)
    if column is None:
        raise ConfigError(
            f"{name}: there is no column {load.cursor} to go on from; there are {', '.join(f.name for f in found)}"
        )
    if not str(column.type).startswith(_CURSORS) or column.native in ("json", "jsonb", "bit", "interval"):
        raise ConfigError(
            f"{name}: {load.cursor} is {column.native}, which does not say what came later; take a number or a time"
        )
    return column


def _greatest(dialect: Dialect, session: Session, column: Field, relation: str, before: Cursor) -> str | None:
    """The greatest cursor of the relation, without values from the future; never less than the one before."""
    conditions = [
        c for c in (dialect.not_after_now(column), column.misfit and f"{column.value} is not null") if c
    ]
    if before.value is not None:
        conditions.append(f"{dialect.ordered(column)} >= {dialect.literal(column, before.value)}")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    (value,) = session.row(f"select {dialect.text(f'max({dialect.ordered(column)})')} from {relation}{where}")
    return before.value if value is None else value


def _all_keys(reading: Reading, session: Session, table: SqlTable, shape: Shape, relation: str) -> str:
    """Every key that the database has, as a Parquet file that no reader of the table looks at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from asgard_assets.ingest.sql.blocks import Blocks
    from asgard_assets.ingest.sql.fields import texts

    names = _spelled(table.key, shape)
    fields = [f for f in shape.fields if f.name in names]
    schema = pa.schema([(f.name, f.type) for f in fields])
    target = f"{reading.staging.path}/_keys/keys.parquet"
    with reading.lake.whole(target) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        blocks = Blocks(
            fields,
            reading.chunk_bytes,
            lambda rows: writer.write_table(rows.select(schema.names)),
            reading.source,
        )
        session.copy(reading.dialect.select([*texts(fields)], relation, ""), blocks.write)
        blocks.flush()
    return target


def _spelled(key: Sequence[str], shape: Shape) -> list[str]:
    """The key's columns as the table spells them."""
    spelled = {field.name.lower(): field.name for field in shape.fields}
    return [spelled[name.lower()] for name in key]
