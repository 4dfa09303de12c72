"""What a source of a database may say, and how lines of a database become rows. No server."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asgard_assets.ingest.sql.blocks import table_of
from asgard_assets.ingest.sql.fields import Field
from asgard_assets.ingest.sql.load import since_condition
from asgard_assets.ingest.sql.postgres import Postgres, decimal_of
from asgard_assets.ingest.sql.source import Incremental, PostgresServer, SqlSource

SERVER = {"type": "postgres", "host": "db", "database": "shop", "user": "reader", "password": "env:SHOP"}


def source(*tables: dict[str, Any], **options: Any) -> SqlSource:
    return SqlSource.model_validate({"name": "shop", "database": SERVER, "tables": tables, **options})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "one of `table` and `query`"),
        ({"table": "a", "query": "select 1"}, "one of `table` and `query`"),
        ({"query": "select 1"}, "needs a `name`"),
        ({"table": "a", "load": {"type": "incremental", "cursor": "c"}}, "needs a `key`"),
        ({"table": "a", "key": ["id"], "columns": ["b"]}, "lacks id"),
        ({"table": "a", "key": ["ds"]}, "loader adds"),
        (
            {"table": "a", "key": ["i"], "load": {"type": "incremental", "cursor": "c", "overlap": "soon"}},
            "10 minutes",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(table: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        source(table)


def test_two_tables_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="bronze/orders"):
        source({"table": "a.orders"}, {"table": "b.orders"})


@pytest.mark.parametrize("kind", ["sqlserver", "oracle"])
def test_databases_that_are_not_built_say_so(kind: str):
    with pytest.raises(ValidationError, match="not built yet"):
        SqlSource.model_validate(
            {"name": "shop", "database": SERVER | {"type": kind}, "tables": [{"table": "a"}]}
        )


def test_a_password_is_only_ever_a_reference():
    with pytest.raises(ValidationError) as refused:
        source({"table": "a"}, database=SERVER | {"password": "hunter2-hunter2"})
    assert "hunter2" not in str(refused.value)


def test_names_in_bronze():
    told = source({"table": "Sales.Order Lines"}, {"table": "b", "name": "own"}, prefix="shop_")
    assert [told.bronze_name(table) for table in told.tables] == ["shop_order_lines", "own"]
    assert told.spec(told.tables[0]).key == ("_row",)


def fields(**kinds: pa.DataType) -> list[Field]:
    return [Field(name, name, "x", kind, name, name) for name, kind in kinds.items()]


def test_lines_become_rows_with_every_digit():
    lines = b'1,12345678901234567890.10,"a,""b""\nc"\n2,,""\n,0.01,\n'
    found = table_of(lines, fields(i=pa.int32(), d=pa.decimal128(22, 2), t=pa.string()), "t").to_pylist()
    assert [row["d"] for row in found] == [Decimal("12345678901234567890.10"), None, Decimal("0.01")]
    assert [row["t"] for row in found] == ['a,"b"\nc', "", None]


def test_lines_within_values_at_the_ends_of_a_block():
    found = table_of(b'"\na\r\n"\n""\n\n"\n"\n', fields(t=pa.string()), "t").to_pylist()
    assert [row["t"] for row in found] == ["\na\r\n", "", None, "\n"]


def test_what_does_not_fit_is_rescued_beside_what_does():
    day = Field("d", "d", "date", pa.date32(), "d", "d", misfit="d")
    found = table_of(b"2026-10-05,\n,infinity\n,\n", [day], "t").to_pylist()
    assert [(str(row["d"]), row["_rescued_data"]) for row in found] == [
        ("2026-10-05", None), ("None", '{"d": "infinity"}'), ("None", None)
    ]  # fmt: skip


def test_text_that_is_no_utf8_is_rescued_as_hex():
    (good, bad) = table_of(b"ok\n\xff\xfe\n", fields(t=pa.string()), "t").to_pylist()
    assert good == {"t": "ok", "_rescued_data": None}
    assert bad["t"] is None and json.loads(bad["_rescued_data"]) == {"t": "\\xfffe"}


@pytest.mark.parametrize(
    ("precision", "scale", "kind"),
    [
        (12, 2, pa.decimal128(12, 2)),
        (39, 0, None),
        (None, None, None),
        (5, 2046, pa.decimal128(7, 0)),
        (3, 5, pa.decimal128(5, 5)),
    ],
)
def test_which_decimal_holds_a_numeric(precision: int | None, scale: int | None, kind: pa.DataType | None):
    assert decimal_of(precision, scale) == kind


def test_a_cursor_goes_into_the_query_as_its_own_type():
    database = Postgres(PostgresServer.model_validate(SERVER), None, "shop")
    column = Field("at", '"at"', "timestamp with time zone", pa.timestamp("us", "UTC"), "", "")
    load = Incremental(type="incremental", cursor="at", overlap="10 minutes")
    assert since_condition(database, column, load, "it's") == (
        "(\"at\" >= 'it''s'::timestamp with time zone - interval '600 seconds' or \"at\" is null)"
    )
    assert since_condition(database, column, load, None) == ""
