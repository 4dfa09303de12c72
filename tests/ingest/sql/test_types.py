"""Every type of a database, digit for digit: what is read is what was written down here by hand."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from asgard_assets.lake.sql import type_name
from tests.ingest.sql.conftest import Database

pytestmark = pytest.mark.servers

POSTGRES: dict[str, tuple[str, dict[str, Any]]] = {
    "smallint": ("smallint", {"-32768": -32768, "32767": 32767}),
    "integer": ("int", {"-2147483648": -2147483648}),
    "bigint": ("bigint", {"9223372036854775807": 9223372036854775807, "-9223372036854775808": -9223372036854775808}),
    "oid": ("bigint", {"4294967295": 4294967295}),
    "boolean": ("boolean", {"true": True, "false": False}),
    "real": ("float", {"0.1": 0.10000000149011612, "1e-45": 1.401298464324817e-45, "'infinity'": float("inf")}),
    "double precision": ("double", {"0.1": 0.1, "5e-324": 5e-324, "1.7976931348623157e308": 1.7976931348623157e308}),
    "numeric(38,10)": ("decimal(38,10)", {
        "1234567890123456789012345678.0123456789": Decimal("1234567890123456789012345678.0123456789"),
        "'NaN'": ("NaN",),
    }),
    "numeric(5,-2)": ("decimal(7,0)", {"12345": Decimal(12300)}),
    "numeric(3,5)": ("decimal(5,5)", {"0.00123": Decimal("0.00123")}),
    "numeric(50,20)": ("string", {"123456789012345678901234567890.1": "123456789012345678901234567890.10000000000000000000"}),
    "numeric": ("string", {"1.10": "1.10", "1e-40": "0." + "0" * 39 + "1", "'NaN'": "NaN", "'-infinity'": "-Infinity"}),
    "money": ("string", {"1234.5": "$1,234.50"}),
    "text": ("string", {"''": "", "'NULL'": "NULL", "E'a,\"b\"\\n\\r\\\\N'": 'a,"b"\n\r\\N', "'\\.'": "\\.", "'日本 🎉'": "日本 🎉"}),
    "char(4)": ("string", {"'a'": "a   "}),
    "varchar(3)": ("string", {"' a '": " a "}),
    "bytea": ("binary", {"'\\x00ff22'": b"\x00\xff\x22", "''": b""}),
    "date": ("date", {
        "'0001-01-01'": date(1, 1, 1), "'9999-12-31'": date(9999, 12, 31), "'infinity'": ("infinity",),
        "'10000-01-01'": ("10000-01-01",), "'0044-03-15 BC'": ("0044-03-15 BC",),
    }),
    "timestamptz": ("timestamp", {
        "'2026-03-29 02:30:00.000001+02'": datetime(2026, 3, 29, 0, 30, 0, 1, UTC),
        "'9999-12-31 23:59:59.999999+00'": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        "'-infinity'": ("-infinity",), "'1890-01-01 00:00:00+00:53:28'": datetime(1889, 12, 31, 23, 6, 32, tzinfo=UTC),
    }),
    "timestamp": ("timestamp", {
        "'2026-03-29 02:30:00.123456'": datetime(2026, 3, 29, 2, 30, 0, 123456, UTC), "'infinity'": ("infinity",),
    }),
    "time": ("string", {"'24:00:00'": "24:00:00", "'01:02:03.000004'": "01:02:03.000004"}),
    "timetz": ("string", {"'01:02:03+05:30'": "01:02:03+05:30"}),
    "interval": ("string", {"'1 year 2 days -3 seconds'": "P1Y2DT-3S"}),
    "json": ("string", {"'{\"a\": 1.10, \"a\": 2}'": '{"a": 1.10, "a": 2}'}),
    "jsonb": ("string", {"'{\"n\": 12345678901234567890.12}'": '{"n": 12345678901234567890.12}', "'null'": "null"}),
    "uuid": ("string", {"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
    "int[]": ("string", {"'{1,NULL,3}'": "[1,null,3]", "'{}'": "[]", "'{{1,2},{3,4}}'": "[[1,2],[3,4]]"}),
    "numeric[]": ("string", {"'{1.10,NaN}'": '[1.10,"NaN"]'}),
    "text[]": ("string", {"array['a\"b', '']": '["a\\"b",""]'}),
    "bit(5)": ("string", {"b'00101'": "00101"}),
    "varbit": ("string", {"b'1'": "1"}),
    "inet": ("string", {"'10.0.0.0/8'": "10.0.0.0/8"}),
    "int4range": ("string", {"'[1,5)'": "[1,5)"}),
    "point": ("string", {"'(1.5,2)'": "(1.5,2)"}),
    "xml": ("string", {"'<a>1</a>'": "<a>1</a>"}),
}  # fmt: skip

MARIADB: dict[str, tuple[str, dict[str, Any]]] = {
    "tinyint": ("tinyint", {"-128": -128}),
    "tinyint unsigned": ("smallint", {"255": 255}),
    "boolean": ("tinyint", {"true": 1, "7": 7}),
    "smallint unsigned": ("int", {"65535": 65535}),
    "mediumint": ("int", {"-8388608": -8388608}),
    "int unsigned": ("bigint", {"4294967295": 4294967295}),
    "int(8) zerofill": ("bigint", {"42": 42}),
    "bigint": ("bigint", {"-9223372036854775808": -9223372036854775808}),
    "bigint unsigned": ("decimal(20,0)", {"18446744073709551615": Decimal("18446744073709551615")}),
    "decimal(38,10)": ("decimal(38,10)", {"1234567890123456789012345678.0123456789": Decimal("1234567890123456789012345678.0123456789")}),
    "decimal(65,30)": ("string", {"12345678901234567890123456789012345.5": "12345678901234567890123456789012345.500000000000000000000000000000"}),
    "decimal(8,2) unsigned zerofill": ("decimal(8,2)", {"1.5": Decimal("1.50")}),
    "float": ("float", {"0.1": 0.10000000149011612, "16777216": 16777216.0, "1.17549435e-38": 1.1754943508222875e-38}),
    "double": ("double", {"0.1": 0.1, "1.7976931348623157e308": 1.7976931348623157e308, "123456789.123456789": 123456789.12345679}),
    "date": ("date", {"'9999-12-31'": date(9999, 12, 31), "'0000-00-00'": ("0000-00-00",), "'2026-05-00'": ("2026-05-00",)}),
    "datetime(6)": ("timestamp", {
        "'2026-03-29 02:30:00.123456'": datetime(2026, 3, 29, 2, 30, 0, 123456, UTC), "'0000-00-00 00:00:00'": ("0000-00-00 00:00:00.000000",),
    }),
    "timestamp(3) null": ("timestamp", {"'2026-03-29 02:30:00.123'": datetime(2026, 3, 29, 2, 30, 0, 123000, UTC)}),
    "time(6)": ("string", {"'-838:59:59.999999'": "-838:59:59.999999"}),
    "year": ("smallint", {"2155": 2155}),
    "varchar(20) character set utf8mb4": ("string", {"''": "", "'NULL'": "NULL", "'a,\"b\"\\n\\\\N'": 'a,"b"\n\\N', "'日本 🎉'": "日本 🎉"}),
    "char(3) character set latin1": ("string", {"'é'": "é"}),
    "longtext": ("string", {"repeat('x', 100000)": "x" * 100000}),
    "varbinary(4)": ("binary", {"x'00ff22'": b"\x00\xff\x22", "''": b""}),
    "binary(3)": ("binary", {"'a'": b"a\x00\x00"}),
    "blob": ("binary", {"x'2c220a'": b',"\n'}),
    "bit(1)": ("string", {"b'1'": "1"}),
    "bit(64)": ("string", {"b'101'": "0" * 61 + "101"}),
    "enum('a','b,\"')": ("string", {"'b,\"'": 'b,"'}),
    "set('a','b')": ("string", {"'a,b'": "a,b"}),
    "json": ("string", {"'{\"n\": 1.10}'": '{"n": 1.10}'}),
    "uuid": ("string", {"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
    "inet6": ("string", {"'2001:db8::1'": "2001:db8::1"}),
}  # fmt: skip


def check(database: Database, native: str, kind: str, written: dict[str, Any]) -> None:
    """A value in parentheses does not fit, and is rescued as that text."""
    database.run("drop table if exists TABLE", f"create table TABLE (id int primary key, v {native})")
    for number, literal in enumerate([*written, "null"]):
        database.run(f"insert into TABLE values ({number}, {literal})")
    database.load({"key": ["id"]})
    found = database.bronze()
    table = database.lake.table("bronze", "t")
    assert table is not None
    types = {field.name: type_name(field.type) for field in pa.schema(table.schema().to_arrow())}
    assert types["v"] == kind
    expected = [*written.values(), None]
    assert [row["v"] for row in found] == [None if isinstance(value, tuple) else value for value in expected]
    assert [row["_rescued_data"] and json.loads(row["_rescued_data"]) for row in found] == [
        {"v": value[0]} if isinstance(value, tuple) else None for value in expected
    ]


@pytest.mark.parametrize("native", POSTGRES)
def test_a_type_of_postgres_loses_nothing(on_postgres: Database, native: str):
    check(on_postgres, native, *POSTGRES[native])


@pytest.mark.parametrize("native", MARIADB)
def test_a_type_of_mariadb_loses_nothing(on_mariadb: Database, native: str):
    check(on_mariadb, native, *MARIADB[native])


def test_an_enum_a_domain_and_a_composite_are_text(on_postgres: Database):
    name = on_postgres.name
    on_postgres.run(
        f"create type mood_{name} as enum ('so, so')", f"create domain cents_{name} as numeric(9,2)",
        f"create type pair_{name} as (a int, b text)",
        f"create table TABLE (id int, m mood_{name}, c cents_{name}, p pair_{name})", "insert into TABLE values (1, 'so, so', 1.5, (1,'x'))",
    )  # fmt: skip
    on_postgres.load()
    (row,) = on_postgres.bronze()
    assert (row["m"], row["c"], row["p"]) == ("so, so", Decimal("1.50"), "(1,x)")


def test_a_table_of_one_column_keeps_its_nulls(database: Database):
    database.run("create table TABLE (v varchar(9))", "insert into TABLE values (null), (''), (null), ('a')")
    database.load()
    assert sorted(str(row["v"]) for row in database.bronze("_row")) == ["", "None", "None", "a"]


def test_random_values_are_read_as_the_server_shows_them(on_postgres: Database):
    on_postgres.run(
        "create table TABLE as select i as id, (random() * 1e9)::numeric(20,6) as n, random() as f, "
        "timestamptz '2020-01-01' + random() * interval '10 years' as t from generate_series(1, 20000) i"
    )
    on_postgres.load({"key": ["id"]})
    shown = on_postgres.rows("select id, n, f, t from TABLE order by id")
    assert [(row["id"], row["n"], row["f"], row["t"]) for row in on_postgres.bronze()] == [
        (i, n, f, t.astimezone(UTC)) for i, n, f, t in shown
    ]
