"""One table with many types, published day by day, and what independent readers see of it on both sides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from asgard_assets.lake import Lake
from asgard_assets.lake.duck import extension

TABLE = "gold/orders"
DAYS = ("2026-10-05", "2026-10-06", "2026-10-07")
COLUMNS: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "name": pa.string(),
    "amount": pa.decimal128(18, 4),
    "ratio": pa.float64(),
    "small": pa.int32(),
    "good": pa.bool_(),
    "at": pa.timestamp("us", "UTC"),
    "day": pa.date32(),
    "raw": pa.binary(),
    "tags": pa.list_(pa.string()),
    "inside": pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))]),
}


def row(number: int, day: str, **more: Any) -> dict[str, Any]:
    """A row in which each third value is null."""
    values = {
        "id": number,
        "name": f"Zoë {number}",
        "amount": Decimal(number) / 8,
        "ratio": number / 3,
        "small": -number,
        "good": number % 2 == 0,
        "at": dt.datetime(2026, 10, 5, 23, 59, 59, number, dt.UTC),
        "day": dt.date(1969, 12, 31),
        "raw": bytes([number % 256, 0]),
        "tags": ["a", None, str(number)],
        "inside": {"a": number, "b": [{"c": "x"}, {"c": None}]},
    }
    kept = {
        name: None if (number + at) % 3 == 0 and name != "id" else v
        for at, (name, v) in enumerate(values.items())
    }
    return {**kept, **more, "ds": day}


def publish(
    lake: Lake,
    days: Sequence[str],
    rows: Iterable[dict[str, Any]],
    more: dict[str, pa.DataType] | None = None,
) -> int:
    """Replace these days; gives back the Delta version. `more`: columns that are new."""
    schema = pa.schema([*(COLUMNS | (more or {})).items(), ("ds", pa.string())])
    stage, name = TABLE.split("/")
    staging = lake.stage(stage, name, schema, list(days))
    lake.write(staging, pa.Table.from_pylist(list(rows), schema))
    return lake.publish(staging, replace_schema=bool(more)).version


def by_delta(lake: Lake) -> list[dict[str, Any]]:
    """As delta-rs reads the Delta table."""
    found = lake.table(*TABLE.split("/"))
    return [] if found is None else _in_order(found.to_pyarrow_table())


def by_pyiceberg(catalog: Any) -> list[dict[str, Any]]:
    return _in_order(catalog.load_table(tuple(TABLE.split("/"))).scan().to_arrow())


def by_duckdb(prepare: Sequence[str], source: str, ordered: bool = True) -> list[dict[str, Any]]:
    """As DuckDB's own reader of Iceberg sees the table that `source` names, after the statements of `prepare`.

    `ordered`: by day and id, which the table then has.
    """
    with duckdb.connect() as connection:
        for name in ("httpfs", "avro", "iceberg"):
            connection.execute(f"load '{extension(name)}'")
        connection.execute("set timezone = 'UTC'")
        for statement in prepare:
            connection.execute(statement)
        found = connection.execute(f"select * from {source}").to_arrow_table()
        return _in_order(found) if ordered else found.to_pylist()


def _in_order(table: pa.Table) -> list[dict[str, Any]]:
    """Rows by day and id; columns by name, moments as instants."""
    rows = ({name: _plain(value) for name, value in sorted(row.items())} for row in table.to_pylist())
    return sorted(rows, key=lambda row: (row["ds"], row["id"]))


def _plain(value: Any) -> Any:
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value
