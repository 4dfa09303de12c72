"""A column that was retyped, renamed or dropped on purpose is so once every partition was built again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from asgard_assets.errors import LakeError
from asgard_assets.lake import Lake

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]


def put(lake: Lake, days: list[str], **columns: Any) -> int:
    many = {n: value if isinstance(value, pa.Array) else [value] * len(days) for n, value in columns.items()}
    rows = pa.table({**many, "ds": days})
    staging = lake.stage("silver", "t", rows.schema, days)
    lake.write(staging, rows)
    return lake.publish(staging, days).version


def shown(lake: Lake) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    with lake.connect() as connection:
        found = connection.execute("select * from silver.t order by ds")
        names = {column[0]: str(column[1]) for column in found.description}
        return names, found.fetchall()


def test_a_type_changes_where_every_partition_is_built_again(lake: Lake) -> None:
    put(lake, DAYS, id=1, amount=5)
    with pytest.raises(LakeError, match="asgard migrate retype silver/t amount double"):
        put(lake, DAYS[:2], id=1, amount=5.5)
    before = lake.snapshot("silver", "t").numbers
    put(lake, DAYS, id=1, amount=5.5)
    columns, rows = shown(lake)
    assert columns["amount"] == "DOUBLE" and [row[1] for row in rows] == [5.5] * 3
    put(lake, DAYS, id=1, amount="5")
    assert shown(lake)[0]["amount"] == "VARCHAR"
    after = lake.snapshot("silver", "t").numbers
    for day in DAYS:
        assert after[f"asgard/rows/{day}"] == before[f"asgard/rows/{day}"] + 2, "readers are built again"


def test_a_renamed_column_goes_with_the_last_partition_that_holds_it(lake: Lake) -> None:
    put(lake, DAYS, id=1, amount=5)
    for day in DAYS[:2]:
        put(lake, [day], id=1, price=5)
        assert list(shown(lake)[0]) == ["id", "amount", "ds", "price"]
    put(lake, DAYS[2:], id=1, price=5)
    columns, rows = shown(lake)
    assert list(columns) == ["id", "ds", "price"] and [row[2] for row in rows] == [5] * 3


def test_a_dropped_column_is_a_change_of_the_rows_that_had_it(lake: Lake) -> None:
    put(lake, DAYS[:1], id=1, amount=5)
    put(lake, DAYS[:1], id=1)
    put(lake, DAYS[:1], id=1)
    assert list(shown(lake)[0]) == ["id", "ds"]
    assert lake.snapshot("silver", "t").numbers[f"asgard/rows/{DAYS[0]}"] == 2


def test_a_column_of_nulls_alone_is_still_a_column(lake: Lake) -> None:
    put(lake, DAYS[:1], id=1, note="x")
    put(lake, DAYS[1:], id=1, note=pa.nulls(2, pa.string()))
    put(lake, DAYS[:1], id=1)
    assert "note" in shown(lake)[0], "other partitions hold it, if only as nulls"


def test_what_was_there_is_read_as_it_was(lake: Lake) -> None:
    first = put(lake, DAYS, id=1, amount=5)
    put(lake, DAYS, id=1, amount="5")
    assert lake.at("silver", "t", first).to_pyarrow_table()["amount"].to_pylist() == [5] * 3
    lake.restore("silver", "t", first)
    columns, rows = shown(lake)
    assert columns["amount"] == "BIGINT" and [row[1] for row in rows] == [5] * 3
