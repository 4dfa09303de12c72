"""Which Delta type holds a DuckDB column, and how it becomes what it was."""

from __future__ import annotations

from typing import Any

from dbt_common.exceptions import DbtRuntimeError

# Where a column is stored as another type, Delta's field metadata keeps DuckDB's under this name, and the
# column is cast back when a later run reads it. Other readers see the stored type.
ORIGINAL = "duckdb.type"

# A naive timestamp is taken for UTC: Delta's own naive type would raise the table's protocol beyond what some
# of its readers understand. An untyped null is an integer, as in `create table as`.
_STORED_AS = {
    "hugeint": "BIGINT",
    "uhugeint": "BIGINT",
    "utinyint": "SMALLINT",
    "usmallint": "INTEGER",
    "uinteger": "BIGINT",
    "ubigint": "DECIMAL(20,0)",
    "uuid": "VARCHAR",
    "json": "VARCHAR",
    "enum": "VARCHAR",
    "time": "VARCHAR",
    "time with time zone": "VARCHAR",
    "interval": "VARCHAR",
    "bit": "VARCHAR",
    "null": "INTEGER",
    '"null"': "INTEGER",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ns": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ms": "TIMESTAMP WITH TIME ZONE",
    "timestamp_s": "TIMESTAMP WITH TIME ZONE",
}
_KEPT = (
    "boolean tinyint smallint integer bigint float double decimal varchar blob date timestamp_tz".split()
    + ["timestamp with time zone"]
)


def quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def stored(table: str, column: str, kind: Any) -> str:
    """SQL type under which a DuckDB column is stored in Delta. Raises where Delta holds nothing like it."""
    name = kind.id.lower()
    if name in ("list", "array"):
        return stored(table, column, kind.children[0][1]) + "[]"
    if name == "map":
        return f"MAP({', '.join(stored(table, column, child) for _, child in kind.children)})"
    if name == "struct":
        inside = (f"{quoted(field)} {stored(table, column, child)}" for field, child in kind.children)
        return f"STRUCT({', '.join(inside)})"
    if str(kind).lower() in _STORED_AS or name in _STORED_AS:
        return _STORED_AS.get(str(kind).lower()) or _STORED_AS[name]
    if name in _KEPT:
        return str(kind)
    raise DbtRuntimeError(
        f"{table}: column {column} has type {kind}, which a Delta table cannot hold; cast it in the model"
    )
