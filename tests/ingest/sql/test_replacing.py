"""Which rows of a table give way to a load. No server."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from asgard_assets.ingest.sql.replacing import replace_rows
from asgard_assets.lake import Lake

SCHEMA = pa.schema([("id", pa.int64()), ("b", pa.string()), ("filename", pa.string()), ("ds", pa.string())])


def publish(lake: Lake, day: str, rows: list[tuple[int, str | None]], keys: list[int] | None = None):
    staging = lake.stage("bronze", "t", SCHEMA, [day])
    if rows:
        told = [{"id": id, "b": text, "filename": "f", "ds": day} for id, text in rows]
        lake.write(staging, pa.Table.from_pylist(told, SCHEMA))
    path = None
    if keys is not None:
        import pyarrow.parquet as pq

        path = f"{staging.path}/_keys/keys.parquet"
        with lake.whole(path) as file:
            pq.write_table(pa.table({"id": pa.array(keys, pa.int64())}), file)
    found = replace_rows(lake, staging, ["id"], path)
    lake.amend(staging, found, {}, [day])
    return found


def rows(lake: Lake) -> list[tuple[int, str | None, str]]:
    table = lake.table("bronze", "t")
    assert table
    return sorted((r["id"], r["b"], r["ds"]) for r in table.to_pyarrow_table().to_pylist())


def test_a_changed_row_moves_and_a_row_that_is_the_same_stays(tmp_path: Path):
    lake = Lake(str(tmp_path))
    publish(lake, "2026-10-05", [(1, "a"), (2, None), (3, "c")])
    found = publish(lake, "2026-10-06", [(2, None), (3, "d"), (4, "e")])
    assert rows(lake) == [
        (1, "a", "2026-10-05"),
        (2, None, "2026-10-05"),
        (3, "d", "2026-10-06"),
        (4, "e", "2026-10-06"),
    ]
    assert (found.unchanged, found.updated, found.deleted) == (1, 1, 0)


def test_rows_whose_key_is_gone_leave_the_table(tmp_path: Path):
    lake = Lake(str(tmp_path))
    publish(lake, "2026-10-05", [(1, "a"), (2, "b"), (3, "c")])
    found = publish(lake, "2026-10-06", [(3, "d")], keys=[1, 3])
    assert rows(lake) == [(1, "a", "2026-10-05"), (3, "d", "2026-10-06")]
    assert (found.unchanged, found.updated, found.deleted) == (0, 1, 1)


def test_a_load_without_rows_changes_nothing(tmp_path: Path):
    lake = Lake(str(tmp_path))
    publish(lake, "2026-10-05", [(1, "a")])
    publish(lake, "2026-10-06", [], keys=[1])
    assert rows(lake) == [(1, "a", "2026-10-05")]
