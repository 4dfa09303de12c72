"""The quarantine of a source, table `quarantine/<source>`: what could not be loaded, why, and as it was written.

A record has `kind` row and its position; a file that could not be read as a whole has `kind` file. Loading a file
again replaces what stands here of it, so a repaired file leaves the quarantine by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import FencedError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.readers import Bad
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import DS, Lake, LivePart, Staging
from asgard_assets.lake.staging import partition_folder
from asgard_assets.lake.statistics import without_floats
from asgard_assets.windows import slice_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

STAGE = "quarantine"
_TRIES = 10
_LOADER = "loader"
"""The transaction number of the table that counts its loads."""


@dataclass(frozen=True)
class BadFile:
    """A file that could not be read as a whole."""

    file: File
    ds: str
    reason: str


def quarantine_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("file", pa.string()),
            ("row", pa.int64()),
            ("kind", pa.string()),
            ("reason", pa.string()),
            ("raw", pa.string()),
            ("size", pa.int64()),
            ("version", pa.string()),
            ("modified", pa.timestamp("us", "UTC")),
            ("quarantined_at", pa.timestamp("us", "UTC")),
            (DS, pa.string()),
        ]
    )


def rows_of(file: File, bad: Sequence[Bad], at: datetime) -> list[dict[str, Any]]:
    """Bad records of a file as rows of the quarantine, without `ds`."""
    about = {"file": file.path, "size": file.size, "version": file.version, "modified": file.modified}
    return [
        about | {"row": b.row, "kind": "row", "reason": b.reason, "raw": b.raw, "quarantined_at": at}
        for b in bad
    ]


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a part of the quarantine is written."""
    import pyarrow as pa

    schema = quarantine_schema()
    return pa.Table.from_pylist(rows, schema.remove(schema.get_field_index(DS)))


def store(lake: Lake, staging: Staging, loaded: Set[str], files: Sequence[BadFile], at: datetime) -> None:
    """Replace what the quarantine holds of the files `loaded` by what is staged, and by `files`; one commit.

    Twice gives the same table; of two loads at once the later one stands.
    """
    import pyarrow as pa

    whole = [
        {
            "file": b.file.path,
            "kind": "file",
            "reason": b.reason,
            "size": b.file.size,
            "version": b.file.version,
            "modified": b.file.modified,
            "quarantined_at": at,
            DS: window_of(b.ds),
        }
        for b in files
    ]
    if whole:
        lake.write(staging, pa.Table.from_pylist(whole, staging.schema))
    days = [day for day, staged in lake.staged_files(staging).items() if staged]
    for attempt in range(_TRIES):
        present = lake.snapshot(STAGE, staging.name)
        if not days and (present.delta is None or not _holds(present.delta, loaded)):
            lake.discard(staging)
            return
        number = present.number(_LOADER)
        try:
            # One loader at a time: the later one sees, and replaces, what the earlier one wrote.
            lake.amend(
                staging,
                without_files(lake, staging, "file", loaded),
                {_LOADER: (number, number + 1)},
                days=days,
            )
            break
        except FencedError:
            if attempt == _TRIES - 1:
                raise
    failed_files(lake, staging.name)


def forget_gone(lake: Lake, landing: Landing, source: str, dry_run: bool = False) -> list[str]:
    """Take out files that could not be read as a whole and are not in the landing any more: there is nothing to load
    and nothing was kept of them. Returns their paths. Records of files that are gone stay: they are all that is left."""
    table = lake.table(STAGE, source)
    if table is None:
        return []
    listed = table.to_pyarrow_table(columns=["file", "kind", DS]).to_pylist()
    whole = {row["file"]: row[DS] for row in listed if row["kind"] == "file"}
    gone = {path: whole[path] for path in sorted(whole) if landing.look(path) is None}
    if gone and not dry_run:
        staging = lake.stage(STAGE, source, quarantine_schema(), sorted(set(gone.values())))
        store(lake, staging, gone.keys(), (), datetime.now(UTC))
    return list(gone)


def _holds(table: DeltaTable, loaded: Set[str]) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = table.to_pyarrow_table(columns=["file"])["file"]
    return bool(
        pc.call_function(
            "any",
            [pc.call_function("is_in", [found], pc.SetLookupOptions(pa.array(sorted(loaded), pa.string())))],
        ).as_py()
    )


def without_files(
    lake: Lake, staging: Staging, column: str, files: Set[str], days: Set[str] | None = None
) -> Callable[[Sequence[LivePart]], Mapping[str, list[str]]]:
    """A rewrite for `Lake.amend`: live files that hold rows of `files` are copied without those rows."""
    import uuid

    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    gone = pa.array(sorted(files), pa.string())

    def rewrite(live: Sequence[LivePart]) -> dict[str, list[str]]:
        instead: dict[str, list[str]] = {}
        for part in live if len(gone) else ():
            if days is not None and part.day not in days:
                continue
            with pq.ParquetFile(part.uri, filesystem=lake.filesystem) as source:
                named = source.read(columns=[column])[column]
                drop = pc.call_function("is_in", [named], pc.SetLookupOptions(gone))
                dropped = pc.call_function("sum", [drop]).as_py() or 0
                if not dropped:
                    continue
                instead[part.path] = []
                if dropped == len(named):
                    continue
                target = f"{staging.path}-kept/{partition_folder(part.day, staging.dimension)}/kept-{uuid.uuid4().hex}.parquet"
                statistics: Any = without_floats(source.schema_arrow)
                with (
                    lake.whole(target) as whole,
                    pq.ParquetWriter(
                        whole, source.schema_arrow, compression="zstd", write_statistics=statistics
                    ) as writer,
                ):
                    for group in range(source.num_row_groups):
                        rows = source.read_row_group(group)
                        lost = pc.call_function("is_in", [rows[column]], pc.SetLookupOptions(gone))
                        writer.write_table(rows.filter(pc.call_function("invert", [lost])))
                instead[part.path] = [target]
        return instead

    return rewrite


def failed_files(lake: Lake, source: str) -> dict[str, tuple[str, str]]:
    """Files in quarantine as a whole: version and reason by path.

    Every load writes down what it left (`store`), for a sensor is to read neither the table nor, with Arrow, 45 MB.
    """
    now = lake.snapshot(STAGE, source)
    if now.delta is None:
        return {}
    number, path = now.number(_LOADER), f"_manifest/{source}/failed.json"
    try:
        told = json.loads(lake.get(path))
        if told["loads"] == number:
            return {file: (version, reason) for file, version, reason in told["files"]}
    except FileNotFoundError:
        pass
    rows = now.delta.to_pyarrow_table(columns=["kind", "file", "version", "reason"]).to_pylist()
    found = {row["file"]: (row["version"], row["reason"]) for row in rows if row["kind"] == "file"}
    listed = [(file, *about) for file, about in found.items()]
    lake.put(path, json.dumps({"loads": number, "files": listed}).encode())
    return found


def quarantined(lake: Lake, source: str, slices: FileSource | None = None) -> dict[str, dict[str, int]]:
    """Records in quarantine by day and file; a file that could not be read at all counts as one. `slices`: by its slices,
    where the source has a second column."""
    table = lake.table(STAGE, source)
    if table is None:
        return {}
    found: dict[str, dict[str, int]] = {}
    for row in table.to_pyarrow_table(columns=["file", DS]).to_pylist():
        value = slices.value_in(row["file"]) if slices and slices.second else None
        files = found.setdefault(slice_of(row[DS], value or ""), {})
        files[row["file"]] = files.get(row["file"], 0) + 1
    return {day: found[day] for day in sorted(found)}
