"""The rows of a database as they are now: newest by its log, truncations, snapshots that begin anew, broken values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from asgard_assets.errors import LakeError
from asgard_assets.ingest.stream.changes import NoChangeError, change, row_key
from asgard_assets.ingest.stream.current import CurrentState, stage_current
from asgard_assets.ingest.stream.table import COLUMNS, schema_of
from asgard_assets.lake import Lake

STATE = CurrentState(
    name="c", table="bronze/c", key=("id",), columns={"id": "bigint", "n": "int"}, description="Rows."
)
Change = tuple[str, int, int, Any]
"""Operation, LSN, id, and n."""


def now(lake: Lake, changes: list[Change], last: int = -1) -> list[tuple[Any, ...]]:
    """The table once these changes are in the log, in this order; `last`: the one that ends a snapshot."""
    rows = [
        {
            "external_id": str(id), "kafka_offset": offset, "ds": "2026-10-05", "deleted": op == "d",
            "payload": json.dumps(
                {
                    "op": op, "source": {"lsn": lsn, "snapshot": "last" if offset == last else "false"},
                    "after": None if op in "dt" else {"id": id, "n": n},
                }
            ),
        }
        for offset, (op, lsn, id, n) in enumerate(changes)
    ]  # fmt: skip
    tombstone = {"external_id": "1", "kafka_offset": len(rows), "ds": "2026-10-05", "deleted": True}
    schema = schema_of(COLUMNS)
    staging = lake.stage("bronze", "c", schema, ["2026-10-05"])
    lake.write(staging, pa.Table.from_pylist([*rows, tombstone], schema=schema))
    lake.publish(staging)
    lake.publish(stage_current(lake, STATE))
    with lake.connect() as connection:
        return connection.sql("select id, n, broken_values from silver.c order by id").fetchall()


@pytest.mark.parametrize(
    ("changes", "last", "rows"),
    [
        ([("r", 5, 1, 1), ("r", 5, 2, 1), ("u", 7, 1, 2), ("d", 8, 2, 0)], 1, [(1, 2, None)]),
        ([("u", 9, 1, 9), ("u", 7, 1, 7)], -1, [(1, 9, None)]),  # sent again, behind the newer one
        ([("c", 5, 1, 1), ("t", 6, 0, 0), ("c", 7, 3, 3)], -1, [(3, 3, None)]),
        ([("c", 5, 1, 1), ("c", 5, 4, 4), ("r", 9, 1, 2), ("r", 9, 2, 2), ("u", 9, 2, 3)], 3, [(1, 2, None), (2, 3, None)]),
        ([("c", 5, 1, 1), ("r", 9, 2, 2)], -1, [(1, 1, None), (2, 2, None)]),  # a snapshot that has not ended
        ([("c", 5, 1, "many")], -1, [(1, None, '{"n":"many"}')]),
        ([("c", 5, 1, 1), ("d", 6, 1, 0)], -1, []),
    ],
)  # fmt: skip
def test_the_newest_change_of_each_row_counts(changes: list[Change], last: int, rows: Any, tmp_path: Path):
    assert now(Lake(str(tmp_path)), changes, last) == rows


def test_a_log_that_is_not_there_yet_is_named(tmp_path: Path):
    with pytest.raises(LakeError, match="there is no table bronze/c yet"):
        stage_current(Lake(str(tmp_path)), STATE)


def test_a_change_is_known_with_and_without_its_schema():
    bare = {"op": "d", "source": {"schema": "public", "table": "t"}}
    assert change(bare) == change({"schema": {}, "payload": bare}) == (bare, True)
    for wrong in ({"op": "x", "source": {}}, {"id": 1}, [], None, {"op": "c"}):
        with pytest.raises(NoChangeError, match="no change as Debezium sends it"):
            change(wrong)


def test_a_row_is_called_by_its_key():
    assert row_key('{"id": 7}', {}) == row_key('{"schema": {}, "payload": {"id": 7}}', {}) == "7"
    assert row_key('{"b": 2, "a": "x"}', None) == '{"a":"x","b":2}'
    assert row_key(None, {"op": "t", "source": {"schema": "public", "table": "t"}}) == "public.t"
    assert row_key("plain", {}) == "plain" and row_key(None, {}) == ""
