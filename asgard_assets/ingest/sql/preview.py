"""The first rows of a table as a load would make them. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets.ingest.sql.blocks import table_of
from asgard_assets.ingest.sql.fields import texts
from asgard_assets.ingest.sql.load import dialect_of, present_in
from asgard_assets.ingest.sql.shape import Shape, shape_of
from asgard_assets.ingest.sql.source import SqlSource, SqlTable
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Preview:
    """Rows, and what a load would change of the table's columns. `about_rows`: the server's own guess; None: it has none."""

    rows: pa.Table
    shape: Shape
    about_rows: int | None


def preview(lake: Lake, source: SqlSource, table: SqlTable, limit: int = 10) -> Preview:
    """Raises AwayError where the database does not answer, ConfigError where it has no such table or column."""
    name, dialect = source.bronze_name(table), dialect_of(source)
    relation = dialect.relation(table.table, table.query, source.db_schema)
    with dialect.sessions(1, relation) as sessions:
        shape = shape_of(name, table, sessions[0].describe(relation), present_in(lake, name), source.second)
        lines: list[bytes] = []
        some = f"(select * from {relation} limit {limit:d}) as asgard_rows"
        sessions[0].copy(dialect.select([*texts(shape.fields)], some, ""), lines.append)
        rows = table_of(b"".join(lines), shape.fields, name) if lines else shape.schema.empty_table()
        return Preview(rows, shape, sessions[0].rows_guess(relation))
