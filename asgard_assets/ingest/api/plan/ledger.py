"""What is to be sent: an immutable plan of requests, less what a resume takes over from the published table.

Runs in DuckDB on the driver, on disk where it is large. The request id is a hash of the source's template
and the row's values, so the plan knows every id without rendering anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.plan.parent_cursors import begin_with
from asgard_assets.ingest.api.plan.parents import take_over_lists
from asgard_assets.ingest.api.plan.rendering import fingerprint
from asgard_assets.ingest.api.plan.requests import PLAN_COLUMNS, PlanFiles
from asgard_assets.ingest.api.plan.resume import EarlierRun, Left, usable_files
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.source.forms import Rows
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.bronze import RETRYABLE
from asgard_assets.ingest.api.table.conditional import add_validators
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.duck import only_reads
from asgard_assets.lake.sql import identifier, literally, plainly, quoted
from asgard_assets.lake.staging import key_column, of_key
from asgard_assets.roots import is_remote
from asgard_assets.windows import value_of, window_of

if TYPE_CHECKING:
    import duckdb

_SQL = {
    "bigint": "bigint",
    "integer": "integer",
    "double": "double",
    "boolean": "boolean",
    "string": "varchar",
}


_DECIMAL = re.compile(r"DECIMAL\((\d+)")
_DOUBLE_DIGITS = 15


@dataclass(frozen=True)
class RequestPlan:
    """Requests to send by day, rows carried over by day, and each day's mode and epoch."""

    send: Mapping[str, int]
    carried: Mapping[str, int]
    modes: Mapping[str, str]
    epochs: Mapping[str, int]
    tasks: int = 0
    kept: tuple[str, ...] = ()  # files with whole lists of killed runs

    @property
    def requests(self) -> int:
        return sum(self.send.values())


def modes(run: Run) -> tuple[dict[str, str], dict[str, int]]:
    """Each day's mode and epoch.

    A day never published is sent whole. A published day is resumed where it has retryable outcomes, and
    refreshed (a new epoch) where it is complete; `mode` overrides this.
    """
    lake, source, days, mode = run.lake, run.source, run.days, run.mode
    if source.rows is None and mode == "auto":
        mode = "refresh"  # a list is walked whole
    table = f'"{source.sink.stage}"."{source.sink.name}"'
    chosen, epochs = {}, {}
    found: dict[str, tuple[int, int]] = {}
    if lake.table(source.sink.stage, source.sink.name) is not None:
        with lake.connect(tables=[source.sink.table]) as connection:
            found = {
                day: (epoch, open_rows)
                for day, epoch, open_rows in connection.execute(
                    f"select {key_column(source.second)}, max(epoch), count(*) filter (where outcome = '{RETRYABLE}') from {table} "
                    f"where {DS} in (select unnest(?)) group by 1",
                    [[*map(window_of, days)]],
                ).fetchall()
            }
    for day in days:
        epoch, unfinished = found.get(day, (0, 0))
        if epoch == 0:
            chosen[day], epochs[day] = "first", 1
        elif mode == "resume" or (mode == "auto" and unfinished):
            chosen[day], epochs[day] = "resume", epoch
        else:
            chosen[day], epochs[day] = "refresh", epoch + 1
    return chosen, epochs


def refuse_cut(run: Run, chosen: Mapping[str, str]) -> None:
    """Raises ConfigError where a limit would cut what is published already."""
    whole = [day for day, mode in chosen.items() if mode == "refresh"]
    if run.limit is not None and whole:
        raise ConfigError(
            f"{run.source.name}: {', '.join(whole[:5])} is published; a limit would replace it by a part. "
            "Leave the limit out, resume, or look at a few answers with `asgard preview`"
        )


def plan_rows(
    run: Run,
    staging: Staging,
    rows_from: str | None = None,
    tasks: Callable[[int], int] = lambda _: 1,
    earlier: Sequence[EarlierRun] = (),
    cursor: Any = None,
) -> RequestPlan:
    """Write the plan's Parquet files into the staging folder, and carry over what need not be sent.

    `rows_from`: Parquet files (a glob) that stand in for the source's own rows,
    with or without `ds`. `earlier`: killed runs whose successes count. `tasks`: into how many files so many
    requests are dealt out. `cursor`: where the walks of parents go on.
    Raises SourceError where a table that is read does not exist, ConfigError where the query is wrong.
    """
    lake, source = run.lake, run.source
    assert source.rows is not None
    chosen, epochs = modes(run)
    common = fingerprint(source)
    send, carried, kept = {}, {}, list[str]()
    # The query of a source may read any table; rows of its caller read none but what was published before.
    published = any(mode != "first" for mode in chosen.values())
    tables = None if rows_from is None else [source.sink.table] if published else []
    also = (staging.path, *([plainly(rows_from).rpartition("/")[0]] if rows_from else ()))
    bench = lake.workbench(tables=tables, paths=also, temp_directory=_scratch(lake, staging))
    with bench as connection, PlanFiles(_keeper(lake, staging), staging, tasks) as files:
        for day in staging.days:
            _select_rows(lake, connection, source, day, rows_from)
            _identify(connection, source.rows, day, common)
            carried[day] = 0
            begin_with(connection, lake, source, cursor)
            if chosen[day] == "resume":
                published = f'"{source.sink.stage}"."{source.sink.name}"'
                table = lake.table(source.sink.stage, source.sink.name)
                there = {field.name for field in table.schema().fields} if table else set()
                carry = _carry if source.one_request_a_row else _carry_lists
                carried[day] += carry(connection, staging, day, published, there, "carried")
            if not source.one_request_a_row:
                taken = take_over_lists(connection, Left(lake, source, staging, earlier, day, epochs[day]))
                carried[day] += taken[0]
                kept += taken[1]
            elif found := usable_files(lake, staging, earlier, day, epochs[day]):
                listed = f"read_parquet([{', '.join(quoted(literally(uri)) for uri in found)}], hive_partitioning = true)"
                carried[day] += _carry(connection, staging, day, listed, staging.schema.names, "left")
            if chosen[day] == "refresh" and source.conditional and source.one_request_a_row:
                add_validators(connection, lake, source, staging, day)
            if run.limit is not None:
                connection.execute(
                    "delete from todo where request_id not in "
                    f"(select request_id from todo order by length(row_key), row_key limit {run.limit:d})"
                )
            send[day] = _one(connection, "select count(*) from todo")
            query = f"select {', '.join(PLAN_COLUMNS)} from todo order by length(row_key), row_key"
            files.add(connection.execute(query).to_arrow_reader(files.batch_rows(send[day])))
        return RequestPlan(send, carried, chosen, epochs, files.tasks, tuple(kept))


def _keeper(lake: Lake, staging: Staging) -> Lake:
    """Whose file system holds the plan: a dry run's is on this machine, wherever the tables are."""
    return lake if staging.path.startswith(lake.root) else Lake(staging.path)


def _select_rows(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    source: ApiSource,
    day: str,
    rows_from: str | None,
) -> None:
    import duckdb

    rows, about = source.rows, {DS: window_of(day)}
    about |= {source.second: value_of(day)} if source.second else {}
    assert rows is not None
    if rows_from is not None:
        query = f"select * from read_parquet({quoted(rows_from)}, hive_partitioning = false)"
        names = {row[0] for row in connection.execute(f"describe {query}").fetchall()}
        if DS in names:
            query += f" where {DS} = $ds"
        if source.second and source.second in names:
            query += f" {'and' if DS in names else 'where'} {identifier(source.second)} = ${source.second}"
    elif rows.query:
        query = _checked(connection, rows.query, source)
    else:
        stage, name = (rows.table or "").split("/")
        query = f'select * from "{stage}"."{name}"'
        names = {f.name for f in table.schema().fields} if (table := lake.table(stage, name)) else set()
        # A table without days is read as it is now; of an API's, rows of failed requests are no rows.
        where = [f"{DS} = $ds"] * (DS in names)
        if source.second and source.second in names:
            where.append(f"{identifier(source.second)} = ${source.second}")
        where += ["success"] * (names >= {"request_id", "success", "outcome"})
        query += f" where {' and '.join(where)}" if where else ""
    try:
        connection.execute(
            f"create or replace temp table source_rows as select * from ({query})",
            {name: told for name, told in about.items() if f"${name}" in query},
        )
    except duckdb.CatalogException as error:
        raise SourceError(
            f"{source.name}: a table that its rows come from does not exist yet; materialize "
            f"{' and '.join(rows.upstreams)} first. DuckDB says: {str(error).splitlines()[0]}",
            source=source.name,
        ) from error
    except duckdb.Error as error:
        raise ConfigError(
            f"{source.name}: rows.query cannot be run: {error}", field="form.rows.query"
        ) from error


def _checked(connection: duckdb.DuckDBPyConnection, query: str, source: ApiSource) -> str:
    """The query, known to be one SELECT of the lake: nothing that is configured can write or attach."""
    import duckdb

    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise ConfigError(f"{source.name}: rows.query is no SQL: {error}", field="form.rows.query") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ConfigError(f"{source.name}: rows.query must be one SELECT", field="form.rows.query")
    try:
        only_reads(connection, query)
    except ConfigError as error:
        raise ConfigError(f"{source.name}: rows.query: {error}", field="form.rows.query") from error
    return query.strip().rstrip(";")


def _identify(connection: duckdb.DuckDBPyConnection, rows: Rows, day: str, common: str) -> None:
    """Table `todo`: one row a request. Rows that would make the same request count once."""
    import duckdb

    described = connection.execute("describe source_rows").fetchall()
    types = {name.lower(): kind for name, kind, *_ in described}
    key = ", ".join(f"'{name}': cast(\"{name}\" as {_SQL[kind]})" for name, kind in rows.key.items())
    used = [name for name in rows.carried if name not in rows.carry]
    more = "".join(f", '{name}': {_exact(name, types.get(name.lower(), ''))}" for name in used)
    kept = "".join(f", '{name}': cast(\"{name}\" as {_SQL[kind]})" for name, kind in rows.carry.items())
    # What is only carried is no part of what is asked: of rows that make the same request one counts.
    one = 'qualify row_number() over (partition by asked order by "row") = 1' if kept else ""
    try:
        connection.execute(
            f"""create or replace temp table todo as
            select distinct '{day}' as {DS}, sha256('{common}' || chr(10) || '{day}' || chr(10) || asked) as request_id,
                row_key, "row", cast(null as varchar) as known
            from (select cast(to_json({{{key}}}) as varchar) as row_key,
                cast(to_json({{{key}{more}}}) as varchar) as asked,
                cast(to_json({{{key}{more}{kept}}}) as varchar) as "row" from source_rows {one})"""
        )
    except (duckdb.BinderException, duckdb.ConversionException) as error:
        raise ConfigError(
            f"the rows do not have the declared columns or types ({', '.join((*rows.key, *rows.carried))}): {error}",
            field="form.rows",
        ) from error


def _exact(name: str, kind: str) -> str:
    """A column as JSON keeps it: a number with more digits than a double holds becomes text."""
    digits = _DECIMAL.match(kind)
    wide = kind in ("HUGEINT", "UHUGEINT") or (digits and int(digits.group(1)) > _DOUBLE_DIGITS)
    return f'cast("{name}" as varchar)' if wide else f'"{name}"'


def _carry(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    day: str,
    relation: str,
    there: Collection[str],
    name: str,
) -> int:
    """Copy successes that are still wanted into the staging folder; take them off `todo`. `there`: the columns
    that `relation` has."""
    connection.execute(
        f"""create or replace temp table kept as select distinct request_id from {relation}
        where {of_key(day, staging.dimension)} and success and request_id in (select request_id from todo)"""
    )
    count = _one(connection, "select count(*) from kept")
    if count:
        listed = _columns_of(staging, there)
        # Two killed runs, or two tries of one task, can both have got the same answer.
        connection.execute(
            f"""copy (select {listed} from {relation}
                where {of_key(day, staging.dimension)} and success and request_id in (select request_id from kept)
                qualify row_number() over (partition by request_id order by finished_at desc) = 1)
            to {quoted(f"{_folder(staging, day)}/part-{name}.parquet")} (format parquet, compression zstd)"""
        )
        connection.execute("delete from todo where request_id in (select request_id from kept)")
    return count


def _columns_of(staging: Staging, there: Collection[str]) -> str:
    """The table's columns for a select; those that the relation lacks are null."""
    names = (name for name in staging.schema.names if name not in staging.partition_by)
    return ", ".join(f'"{name}"' if name in there else f'null as "{name}"' for name in names)


def _carry_lists(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    day: str,
    relation: str,
    there: Collection[str],
    name: str,
) -> int:
    """`_carry` for lists of parents: a parent's items are kept where its walk came to its end, else it is walked
    again. How many rows are kept."""
    connection.execute(
        f"""create or replace temp table kept as select row_key, count(*) as rows from {relation}
        where {of_key(day, staging.dimension)} and row_key in (select row_key from todo) group by 1 having bool_and(success)"""
    )
    count = _one(connection, "select coalesce(sum(rows), 0)::bigint from kept")
    if count:
        listed = _columns_of(staging, there)
        connection.execute(
            f"""copy (select {listed} from {relation}
                where {of_key(day, staging.dimension)} and row_key in (select row_key from kept))
            to {quoted(f"{_folder(staging, day)}/part-{name}.parquet")} (format parquet, compression zstd)"""
        )
        connection.execute("delete from todo where row_key in (select row_key from kept)")
    return count


def _folder(staging: Staging, day: str) -> str:
    folder = staging.folder(day)
    if not is_remote(folder):
        from pathlib import Path

        Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def _scratch(lake: Lake, staging: Staging) -> str:
    import tempfile

    return tempfile.gettempdir() if lake.remote else f"{staging.path}/_scratch"


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
