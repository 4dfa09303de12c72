"""Cursors of parents: each list goes on where that parent's own last published walk ended.

A file beside the cursor plans has a row for every parent: its cursor, and what its last walk came to. It counts
once the commit of its plan does. A parent whose walk failed keeps the cursor that it began with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.plan.checkpoint import CursorPlan, published_end, root
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.notes import LEFT, WALKS, read_notes
from asgard_assets.ingest.api.values.cursors import later
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import literally, quoted

if TYPE_CHECKING:
    import duckdb

_FILE = "ledger"


def begin_with(connection: duckdb.DuckDBPyConnection, lake: Lake, source: ApiSource, cursor: Any) -> None:
    """Give the parents on `todo` their own cursors. `cursor` is where the plan begins: a ledger, or nothing."""
    if (path := _path(lake, source, cursor)) is None:
        return
    uri = quoted(literally(path))
    connection.execute(
        f"""update todo set known = '{{"cursor": ' || l.cursor || '}}'
        from read_parquet({uri}) l where l.row_key = todo.row_key and l.cursor is not null"""
    )


def write_ledger(
    lake: Lake, source: ApiSource, staging: Staging, walk: CursorPlan, noted: Iterable[str], resumed: bool
) -> tuple[Any, int]:
    """Write where every parent's walk ended; gives back the plan's end, and how many walks came to theirs.

    `noted`: the files of notes that count. `resumed`: parents that were not asked again keep what they reached.
    """
    rows = _read(lake, source, walk.cursor)
    if resumed:
        rows |= _read(lake, source, published_end(lake, source, walk.ds))
    walked = _walked(lake, staging, walk.ds, noted)
    for parent, found in walked.items():
        before = rows.get(parent, {}).get("cursor")
        told = None if before is None else json.loads(before)
        reached = found.pop("cursor")
        how = source.incremental
        if found["ended"] and reached is not None:
            told = reached if how is not None and how.body else later(told, reached)
        rows[parent] = {"row_key": parent, "cursor": None if told is None else json.dumps(told), **found}
    _write(lake, source, walk.number, rows.values())
    return {_FILE: walk.number}, sum(found["ended"] for found in walked.values())


def _walked(lake: Lake, staging: Staging, day: str, noted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What this run's notes, and those that it took over, say of each parent's walk."""
    from pyarrow import fs as pafs

    base = f"{staging.path}/{WALKS}/{DS}={day}"
    infos = lake.filesystem.get_file_info(pafs.FileSelector(base, allow_not_found=True))
    left = [f"{WALKS}/{DS}={day}/{i.base_name}" for i in infos if i.base_name.startswith(f"{LEFT}-")]
    found: dict[str, dict[str, Any]] = {}
    for name in [*sorted(left), *noted]:
        for note in read_notes(lake, staging.path, name):
            if note["first"] == 0 or note["row_key"] not in found:
                found[note["row_key"]] = {"cursor": None, "pages": 0, "items": 0, "ended": False}
            one = found[note["row_key"]]
            one["pages"] += note["last"] - note["first"] + 1
            one["items"] += note["rows"]
            if note["state"] is not None:
                one["cursor"], one["ended"] = note["state"]["cursor"], note["state"]["page"] is None
    return found


def _read(lake: Lake, source: ApiSource, cursor: Any) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet as pq

    if (path := _path(lake, source, cursor)) is None:
        return {}
    return {row["row_key"]: row for row in pq.read_table(path, filesystem=lake.filesystem).to_pylist()}


def _write(lake: Lake, source: ApiSource, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "row_key": pa.string(),
        "cursor": pa.string(),
        "pages": pa.int64(),
        "items": pa.int64(),
        "ended": pa.bool_(),
    }
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(list(kinds.items())))
    # The plan's end names the file, and is written after it.
    with lake.whole(f"{root(lake, source)}/{number:08d}.walks.parquet") as file:
        pq.write_table(table, file, compression="zstd")


def _path(lake: Lake, source: ApiSource, cursor: Any) -> str | None:
    """The file that a plan begins with or ended with; None where the very first walk begins."""
    if not isinstance(cursor, Mapping) or _FILE not in cursor:
        return None
    return f"{root(lake, source)}/{cursor[_FILE]:08d}.walks.parquet"
