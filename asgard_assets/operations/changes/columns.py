"""Change the columns of a table that has rows: type, name, end, and the key that the rows are one of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.sql import TypeNameError, arrow_type, identifier, quoted, type_name
from asgard_assets.operations.changes.migration import Migration, Step, opened

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_BRONZE = (
    "a load adds the column again as long as its source has it: leave it out there, or change Silver alone"
)


def retype(lake: Lake, address: str, column: str, to: str) -> Migration:
    """Give a column another type. Raises LakeError where a value has no place in it: nothing is lost in silence."""
    import pyarrow as pa

    stage, name, table = opened(lake, address)
    try:
        wanted = arrow_type(to)
    except TypeNameError as error:
        raise ConfigError(str(error)) from error
    present = _field(table, f"{stage}/{name}", column)
    title = f"{stage}/{name}.{column}: {type_name(present.type)} → {type_name(wanted)}"
    if present.type == wanted:
        return Migration(title, ())
    _check_values(lake, f"{stage}/{name}", table, column, wanted)

    def schema(now: pa.Schema) -> pa.Schema:
        return pa.schema([pa.field(f.name, wanted) if f.name == column else f for f in now])

    return _rewrite(lake, stage, name, table, title, schema, lambda rows: rows)


def rename(lake: Lake, address: str, column: str, to: str) -> Migration:
    """Give a column another name. Raises ConfigError where there is one of that name."""
    import pyarrow as pa

    stage, name, table = opened(lake, address)
    names = [field.name for field in table.schema().fields]
    title = f"{stage}/{name}: the column {column} is called {to}"
    if to in names:
        if column not in names:
            return Migration(title, ())
        raise ConfigError(f"{stage}/{name} has a column {to} already; drop one of the two first")
    _field(table, f"{stage}/{name}", column)

    def schema(now: pa.Schema) -> pa.Schema:
        return pa.schema([f.with_name(to) if f.name == column else f for f in now])

    def rows(found: pa.Table) -> pa.Table:
        return found.rename_columns([to if n == column else n for n in found.column_names])

    return _rewrite(lake, stage, name, table, title, schema, rows)


def drop(lake: Lake, address: str, column: str) -> Migration:
    """Take a column and its values out of the table. Older versions have it until their retention is over."""
    import pyarrow as pa

    stage, name, table = opened(lake, address)
    title = f"{stage}/{name}: without the column {column}"
    names = [field.name for field in table.schema().fields]
    if column not in names:
        return Migration(title, ())
    _field(table, f"{stage}/{name}", column)
    if set(names) <= {column, DS}:
        raise ConfigError(f"{column} is the only column of {stage}/{name}: remove the table instead")

    def schema(now: pa.Schema) -> pa.Schema:
        return pa.schema([f for f in now if f.name != column])

    return _rewrite(lake, stage, name, table, title, schema, lambda rows: rows)


def key(lake: Lake, address: str, columns: Sequence[str], newest: str = "") -> Migration:
    """Make the rows of each partition one for each key: of several, the one with the greatest `newest` stays.

    Raises LakeError where a key is null, or several rows have one and `newest` is not given.
    """
    stage, name, table = opened(lake, address)
    for column in [*columns, *([newest] if newest else [])]:
        _field(table, f"{stage}/{name}", column)
    title, keys = (
        f"{stage}/{name}: one row for each {', '.join(columns)}",
        ", ".join(map(identifier, columns)),
    )
    source, partitioned = f"{identifier(stage)}.{identifier(name)}", bool(table.metadata().partition_columns)
    by = [identifier(DS)] if partitioned else []
    with lake.connect(tables=[f"{stage}/{name}"]) as connection:
        missing = " or ".join(f"{identifier(column)} is null" for column in columns)
        nulls = connection.execute(f"select count(*) from {source} where {missing}").fetchall()[0][0]
        group = ", ".join([*by, keys])
        several = connection.execute(
            f"select {by[0] if by else quoted('')}, sum(n - 1)::bigint from (select {group}, count(*) as n from {source} "
            f"group by {group} having n > 1) group by 1 order by 1"
        ).fetchall()
    if nulls:
        raise LakeError(
            f"{stage}/{name}: {nulls:,} rows have no {' or no '.join(columns)}; a key has no nulls"
        )
    total = sum(extra for _, extra in several)
    if total and not newest:
        raise LakeError(
            f"{stage}/{name}: {total:,} rows in {len(several)} partitions have a {', '.join(columns)} that another row has; "
            "name the column by which the newest one stays: --newest updated_at"
        )

    def one(day: str) -> Callable[[], object]:
        where = f"where {identifier(DS)} = {quoted(day)}" if day else ""
        query = (
            f"select * from {source} {where} qualify row_number() over (partition by {keys} order by "
            f"{identifier(newest)} desc nulls last) = 1"
        )
        return lambda: _replace(lake, stage, name, day, query)

    steps = [Step(f"{day or 'the whole table'}: {extra:,} rows go", one(day)) for day, extra in several]
    return Migration(title, tuple(steps), (f"change the key in the YAML or code of {stage}/{name}",))


def _replace(lake: Lake, stage: str, name: str, day: str, query: str) -> None:
    import pyarrow as pa

    table = lake.table(stage, name)
    assert table is not None
    staging = lake.stage(
        stage, name, pa.schema(table.schema().to_arrow()), [day] if day else [], whole=not day
    )
    with lake.connect(tables=[f"{stage}/{name}"]) as connection:
        lake.write(staging, connection.execute(query).to_arrow_table())
    lake.publish(staging)


def _field(table: DeltaTable, address: str, column: str) -> pa.Field:
    import pyarrow as pa

    schema = pa.schema(table.schema().to_arrow())
    if column == DS and table.metadata().partition_columns:
        raise ConfigError(f"{address}: {DS} names the partition and stays as it is")
    if column not in schema.names:
        raise ConfigError(f"{address} has no column {column}; it has {', '.join(schema.names)}")
    return schema.field(column)


def _check_values(lake: Lake, address: str, table: DeltaTable, column: str, wanted: pa.DataType) -> None:
    """Read the column alone, file by file, and cast it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in lake.parts(table):
        with pq.ParquetFile(part.uri, filesystem=lake.filesystem) as file:
            if column not in file.schema_arrow.names:
                continue
            for batch in file.iter_batches(columns=[column]):
                try:
                    batch.column(0).cast(wanted)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                    raise LakeError(
                        f"{address}, partition {part.day or '-'}: a value of {column} is no {type_name(wanted)} "
                        f"({str(error).splitlines()[0][:200]}); nothing was changed. Build the table again with a "
                        "transformation that says what becomes of it",
                        table=address,
                    ) from error


def _rewrite(
    lake: Lake,
    stage: str,
    name: str,
    table: DeltaTable,
    title: str,
    schema: Callable[[pa.Schema], pa.Schema],
    rows: Callable[[pa.Table], pa.Table],
) -> Migration:
    parts = lake.parts(table)
    what = f"write {len(parts):,} files again ({sum(part.size for part in parts) / 1e6:,.1f} MB), in one commit; tables that read {stage}/{name} are stale then"

    def cast(found: pa.Table, wanted: pa.Schema) -> pa.Table:
        import pyarrow as pa

        found = rows(found)
        columns = {
            f.name: found[f.name].cast(f.type)
            if f.name in found.column_names
            else pa.nulls(len(found), f.type)
            for f in wanted
            if f.name in found.column_names or f.name != DS or not table.metadata().partition_columns
        }
        return pa.table(columns)

    then = [f"change the YAML or code of {stage}/{name} before its next run"] + (
        [_BRONZE] if stage == "bronze" else []
    )
    step = Step(what, lambda: lake.retype(stage, name, schema, cast, changes_rows=True))
    return Migration(title, (step,), tuple(then))
