"""Conditional requests (RFC 9110, 13): what did not change since it was published is not sent again.

A refresh sends each row's ETag and Last-Modified, as Bronze has them. A 304 costs no body: the published row
is kept as it is, but for the columns that tell about the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.bronze import VOLATILE
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import literally, quoted
from asgard_assets.lake.staging import of_key, partition_folder
from asgard_assets.windows import key_in

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

KEPT = "_kept"  # inside the staging folder: who answered 304, and when
_HEADERS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


def add_validators(
    connection: duckdb.DuckDBPyConnection, lake: Lake, source: ApiSource, staging: Staging, day: str
) -> None:
    """Fill column `known` of the plan `todo`: the validators of the published success, where it has some.

    Not where the table lacks a column that this run would write: then a kept row would lack it too.
    """
    table = lake.table(source.sink.stage, source.sink.name)
    there = {field.name for field in table.schema().fields} if table else set()
    if not there.issuperset(staging.schema.names):
        return
    headers = " || ".join(
        f"""coalesce('"{name}":' || to_json(response_headers->>'$."{name}"') || ',', '')"""
        for name in _HEADERS
    )
    connection.execute(
        f"""update todo set known = found.validators from (
            select request_id, '{{' || rtrim({headers}, ',') || '}}' as validators
            from "{source.sink.stage}"."{source.sink.name}" where {of_key(day, staging.dimension)} and success
        ) found where found.request_id = todo.request_id and found.validators <> '{{}}'"""
    )


def conditional(request: Request, known: str | None) -> Request:
    """The same request, to be answered only if the record differs from what is `known`."""
    if known is None:
        return request
    validators = orjson.loads(known)
    return replace(
        request, headers={**request.headers, **{_HEADERS[name]: text for name, text in validators.items()}}
    )


def kept_schema(schema: pa.Schema) -> pa.Schema:
    """What a 304 leaves in a file."""
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in ("request_id", *sorted(VOLATILE), DS)])


def kept_row(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in ("request_id", *VOLATILE)}


def keep(lake: Lake, source: ApiSource, staging: Staging, files: Sequence[str]) -> list[str]:
    """Copy the published rows that answered 304 into the staging folder; their new files' names.

    `files` are those below KEPT, relative to it.
    """
    by_day: dict[str, list[str]] = {}
    for name in files:
        folders = dict(part.split("=", 1) for part in name.split("/")[:-1])
        by_day.setdefault(key_in(folders), []).append(f"{staging.path}/{KEPT}/{name}")
    written = []
    with lake.workbench(tables=[source.sink.table]) as connection:
        for day, paths in by_day.items():
            listed = ", ".join(
                f'kept."{name}"' if name in VOLATILE else f'published."{name}"'
                for name in staging.schema.names
                if name not in staging.partition_by
            )
            name = f"{partition_folder(day, staging.dimension)}/part-kept.parquet"
            lake.filesystem.create_dir(staging.folder(day), recursive=True)
            connection.execute(
                f"""copy (select {listed} from "{source.sink.stage}"."{source.sink.name}" published
                    join read_parquet($paths, hive_partitioning = false) kept using (request_id)
                    where {of_key(day, staging.dimension, "published.")} and published.success)
                to {quoted(f"{staging.path}/{name}")} (format parquet, compression zstd)""",
                {"paths": [literally(path) for path in paths]},
            )
            written.append(name)
    return written
