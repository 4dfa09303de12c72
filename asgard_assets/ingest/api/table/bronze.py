"""The Bronze table of an API source: its columns, and the files that workers write."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from asgard_assets.ingest.api.source.forms import PullForm, RowForm, column_of
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.payload import Schema, payload_type, sql_type
from asgard_assets.ingest.api.table.notes import write_notes
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.sql import arrow_type
from asgard_assets.lake.staging import partition_folder
from asgard_assets.quality.tables import Check, Column, TableSpec
from asgard_assets.windows import key_in

if TYPE_CHECKING:
    import pyarrow as pa

SUCCESS, RETRYABLE, PERMANENT = "success", "retryable", "permanent"
MORE_PAGES = "MorePages"

VOLATILE = frozenset({"attempts", "started_at", "finished_at", "duration_seconds", "epoch", "run_id"})
"""Columns that tell about one run. All others are business columns: equal where the upstream is."""

_BEFORE = {
    "request_id": Column(type="string", description="Stable hash of source, row and request template."),
    "row_key": Column(type="string", description="Key of the source row, as JSON."),
}
_ITEM = {
    "item_index": Column(type="integer", description="Place on the page; -1: the page itself failed."),
    "payload": Column(type="string", description="The item, as JSON."),
}
_AFTER = {
    "url": Column(type="string", description="Address without credentials."),
    "method": Column(type="string"),
    "request_headers": Column(type="string", description="JSON, redacted."),
    "request_params": Column(type="string", description="Query parameters as JSON."),
    "request_body": Column(type="string"),
    "status_code": Column(type="integer", description="Null where no answer came."),
    "response_headers": Column(type="string", description="JSON, without those that change by themselves."),
    "body": Column(type="string", description="Body as text; of a list endpoint only where the page failed."),
    "success": Column(type="boolean"),
    "outcome": Column(type="string", description="success, retryable (a resume sends it again), permanent."),
    "error_class": Column(type="string"),
    "error_message": Column(type="string", description="Why it failed."),
    "attempts": Column(type="integer", description="Tries, throttled ones included."),
    "started_at": Column(type="timestamp"),
    "finished_at": Column(type="timestamp"),
    "duration_seconds": Column(type="double"),
    "epoch": Column(type="bigint", description="Grows by one with each refresh of the partition."),
    "run_id": Column(type="string", description="The run that got this answer."),
    DS: Column(type="string", description="The day that was asked for."),
}


def columns(source: ApiSource) -> dict[str, Column]:
    """Bronze columns in order; a row-driven source has its key columns, a pull source its items."""
    payload, extra = source.sink.payload, {}
    if payload and payload.type == "struct":
        told = sql_type(payload.columns) if payload.columns is not None else "struct"
        extra["payload"] = Column(type=told, description="The answer, typed.")
        extra["payload_rescued"] = Column(type="string", description="JSON of what did not fit, by path.")
    elif payload:
        extra["payload"] = Column(type="string", description="The answer as JSON text.")
    if source.sink.row_hash:
        extra["row_hash"] = Column(type="string", description="SHA-256 of the item or body.")
    if source.sink.offload_bytes is not None:
        extra["body_path"] = Column(
            type="string", description="File of a huge body, inside the table's folder."
        )
    if isinstance(source.form, PullForm):
        parents = source.form.rows.shown if source.form.rows else {}
        items = {
            name: Column(type=kind, description="Column of the parent row.") for name, kind in parents.items()
        }
        items |= {
            column_of(path): Column(type=kind, description="Key of the item.")
            for path, kind in source.form.key.items()
        }
        if source.form.deleted is not None:
            items["deleted"] = Column(type="boolean", description="Whether the API says that it was deleted.")
        return _BEFORE | items | _ITEM | extra | _AFTER | second_column(source)
    keys = {
        name: Column(type=kind, description="Column of the source row.")
        for name, kind in source.form.rows.shown.items()
    }
    return _BEFORE | keys | extra | _AFTER | second_column(source)


def second_column(source: ApiSource) -> dict[str, Column]:
    """The column that cuts the table beside time, where there is one."""
    if not source.second:
        return {}
    return {source.second: Column(type="string", description="The value that was asked for.")}


def arrow_schema(source: ApiSource, payload: Schema | None = None) -> pa.Schema:
    """The table's schema as staged files carry it (`ds` stands in their folder's name).

    `payload` is the typed payload's schema; without it the payload is text.
    """
    import pyarrow as pa

    typed = {"payload": pa.string() if payload is None else payload_type(payload)}
    kinds = {name: column.type for name, column in columns(source).items()}
    return pa.schema([(name, typed.get(name) or arrow_type(kind)) for name, kind in kinds.items()])


def table_spec(source: ApiSource) -> TableSpec:
    """The table's contract: key, columns and checks that follow from the form, and the source's own."""
    pull = isinstance(source.form, PullForm)
    quality = source.quality
    least = quality.min_success if quality.min_success is not None else (0.5 if source.rows else 1.0)
    share = "count(*) filter (where success) >= {} * count(*)"
    # An answer that is the first page of a list is there, but it is not all that was asked for.
    whole = f"count(*) filter (where error_class = '{MORE_PAGES}') = 0"
    part_is_wrong = isinstance(source.form, RowForm) and source.form.more_pages == "fail"
    return TableSpec(
        stage=source.sink.stage,
        name=source.sink.name,
        description=quality.description,
        every=source.every,
        time_zone=source.time_zone,
        key=("request_id", "item_index") if pull else ("request_id",),
        columns=columns(source),
        volatile=tuple(sorted(VOLATILE)),
        checks=(
            Check(
                name="success_rate",
                sql=(f"{whole} and " if part_is_wrong else "") + share.format(least),
                aggregate=True,
                severity="error",
                description=f"At least {least:.0%} of the partition's requests succeeded"
                f"{', and no answer is only the first page of a list' if part_is_wrong else ''}.",
            ),
            Check(
                name="success_rate_is_usual",
                sql=share.format(quality.usual_success),
                aggregate=True,
                severity="warn",
                description=f"At least {quality.usual_success:.0%} of the partition's requests succeeded.",
            ),
            *_content_checks(source),
            *quality.checks,
        ),
        owners=quality.owners,
        tags=quality.tags,
        kinds=quality.kinds,
        fresh_hours=quality.fresh_hours,
    )


def _content_checks(source: ApiSource) -> Iterator[Check]:
    payload = source.sink.payload
    if payload and payload.type == "struct":
        yield Check(
            name="schema_drift",
            sql="payload_rescued is null",
            severity="error" if payload.on_drift == "fail" else "warn",
            description="Every payload fits its schema; what does not is in payload_rescued.",
        )
    if isinstance(source.form, PullForm) and source.form.key:
        keys = [f'"{name}"' for name in source.form.key_columns]
        yield Check(
            name="item_keys_are_unique",
            sql=f"count(*) filter (success) = count(distinct ({', '.join(keys)})) filter "
            f"(success and {' and '.join(f'{key} is not null' for key in keys)})",
            aggregate=True,
            description="Every item has its key, and no key comes twice in a partition.",
        )


@dataclass
class _Buffer:
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    notes: list[Mapping[str, Any]] = field(default_factory=list)
    bytes: int = 0
    since: float = field(default_factory=time.monotonic)


class Results(Protocol):
    """Where a task's rows go. `written` are the files that the driver is told of, `noted` those of its notes."""

    written: list[str]
    noted: list[str]

    def put(self, day: str, row: Mapping[str, Any], size: int) -> bool: ...

    async def flush_full(self) -> None: ...

    def note(self, day: str, note: Mapping[str, Any]) -> None: ...

    async def flush_old(self) -> None: ...

    async def flush(self, *days: str) -> None: ...


class ResultFiles:
    """Rows on their way into immutable Parquet files, one buffer a day; bounded by rows, bytes and age.

    No more than `flush_rows` rows and about `flush_bytes` wait in memory, those being written included: that
    is what a killed worker loses. A file holds half of it, so that sending goes on while one is written.
    """

    def __init__(self, source: ApiSource, lake: Lake, staging_path: str, schema: pa.Schema, label: str):
        self._flush_seconds = source.execution.flush_seconds
        self._lake, self._path, self._label = lake, staging_path, label
        self._second = source.second
        for name in {DS, source.second} & {*schema.names}:  # these stand in the names of folders
            schema = schema.remove(schema.get_field_index(name))
        self._schema = schema
        self._buffers: dict[str, _Buffer] = {}
        self._lock = asyncio.Lock()
        # Half of what may wait: the other half is being written.
        self._most_rows = max(1, source.execution.flush_rows // 2)
        self._most_bytes = source.execution.flush_bytes // 2
        self._rows = self._bytes = 0
        self.written: list[str] = []
        self.noted: list[str] = []

    def note(self, day: str, note: Mapping[str, Any]) -> None:
        """Take a note of the rows so far; it is written after them."""
        buffer = self._buffers.get(day) or self._buffers.setdefault(day, _Buffer())
        buffer.notes.append(note)

    def put(self, day: str, row: Mapping[str, Any], size: int) -> bool:
        """Take one row. Gives back whether `flush_full` is due: whoever fills a buffer writes it, and meanwhile the
        others go on.
        """
        buffer = self._buffers.get(day) or self._buffers.setdefault(day, _Buffer())
        buffer.rows.append(row)
        buffer.bytes += size
        self._rows += 1
        self._bytes += size
        return self._rows >= self._most_rows or self._bytes >= self._most_bytes

    async def flush_full(self) -> None:
        """Write what waits, if it is still as much as may wait."""
        async with self._lock:
            # Of those who waited for the last file, the first writes the next one.
            if self._rows >= self._most_rows or self._bytes >= self._most_bytes:
                await self._take_out(tuple(self._buffers))

    async def flush_old(self) -> None:
        """Write what waits for longer than `flush_seconds`."""
        limit = time.monotonic() - self._flush_seconds
        old = [day for day, buffer in self._buffers.items() if buffer.since <= limit]
        if old:
            await self.flush(*old)

    async def flush(self, *days: str) -> None:
        """Write the buffers of `days`, all of them where none is named. Not to be cancelled half way."""
        # One file at a time bounds what is in memory besides the buffers.
        async with self._lock:
            await self._take_out(days or tuple(self._buffers))

    async def _take_out(self, days: tuple[str, ...]) -> None:
        taken = {day: self._buffers.pop(day) for day in days if day in self._buffers}
        for buffer in taken.values():
            self._rows -= len(buffer.rows)
            self._bytes -= buffer.bytes
        for day, buffer in taken.items():
            if buffer.rows:
                self.written.append(await asyncio.to_thread(self._write, day, buffer.rows))
            if buffer.notes:
                name = f"{self._label}-{len(self.noted):05d}"
                told = self._lake, self._path, day, name, buffer.notes
                self.noted.append(await asyncio.to_thread(write_notes, *told))

    def _write(self, day: str, rows: list[Mapping[str, Any]]) -> str:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(rows, schema=self._schema)
        name = f"{partition_folder(day, self._second)}/part-{self._label}-{uuid.uuid4().hex}.parquet"
        with self._lake.whole(f"{self._path}/{name}") as file:
            pq.write_table(table, file, compression="zstd")
        return name


def written_by(lake: Lake, staging_path: str, task: int) -> Iterator[tuple[str, str, pa.Table]]:
    """Whole files of a task's earlier tries: day, address inside the staging folder, ids and outcomes."""
    import pyarrow.parquet as pq
    from pyarrow import fs as pafs

    base = staging_path
    for info in lake.filesystem.get_file_info(pafs.FileSelector(base, recursive=True)):
        inside = info.path[len(base) + 1 :]
        folder, _, name = inside.rpartition("/")
        if folder.startswith(f"{DS}=") and name.startswith(f"part-{task:05d}-"):
            with pq.ParquetFile(info.path, filesystem=lake.filesystem) as file:
                table = file.read(columns=["request_id", "outcome"])
            yield key_in(dict(part.split("=", 1) for part in folder.split("/"))), inside, table
