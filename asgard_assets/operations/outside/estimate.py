"""`asgard plan FILE`: a source that is in no project, estimated from its listed files and a sampled read of them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.outside import source_file as outside
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.plan import AssetPlan, RunPlan, run_plan
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_FILES = 10
_BYTES = 32 << 20
"""So much is read for a sample at most; a bigger file is read up to its share."""


@dataclass(frozen=True)
class Sample:
    """What some files showed: rows and stored bytes of each byte read, and seconds that reading took."""

    files: int
    bytes: int
    rows: int
    stored_bytes: int
    seconds: float

    def of(self, size: int) -> tuple[int, int, float]:
        """Rows, stored bytes and seconds of so many bytes."""
        share = size / self.bytes if self.bytes else 0.0
        return round(self.rows * share), round(self.stored_bytes * share), self.seconds * share


def plan_file(
    path: Path, partitions: str, rows: str | None, clock: Callable[[], float] = time.perf_counter
) -> RunPlan:
    """The plan of a source's YAML file. `rows`: parents of an API source, as Parquet. Writes and sends nothing."""
    settings = Settings()
    source = outside.file_source_at(path)
    if source is None:
        given = outside.ApiFile(path, partitions, rows)
        return run_plan([_of_api(given, settings)], {}, settings)
    lake, landing = Lake.from_settings(settings), Landing.from_settings(settings)
    return run_plan([_of_files(lake, landing, source, Span.parse(partitions), settings, clock)], {}, settings)


def sample(
    landing: Landing,
    source: FileSource,
    files: Sequence[File],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Sample, list[str]]:
    """Read some files, spread over all of them, as a load would. Files that cannot be read are named."""
    step = max(1, len(files) // _FILES)
    read = size = rows = stored = 0
    seconds, unread = 0.0, list[str]()
    for file in files[::step][:_FILES]:
        share = _BYTES // min(len(files), _FILES)
        began = clock()
        try:
            tables = list(_tables(landing, source, file, share))
        except SourceError as error:
            unread.append(f"cannot be read: {file.path} ({error})")
            continue
        seconds += clock() - began
        found = sum(table.num_rows for table in tables)
        # Of a file that was not read to its end, the bytes of its rows are told by their share in memory.
        held = sum(table.nbytes for table in tables)
        size += file.size if held < share else min(file.size, held)
        read, rows = read + 1, rows + found
        stored += sum(_parquet_bytes(table) for table in tables)
    return Sample(read, size, rows, stored, seconds), unread


def _of_files(
    lake: Lake,
    landing: Landing,
    source: FileSource,
    span: Span | None,
    settings: Settings,
    clock: Callable[[], float],
) -> AssetPlan:
    found = scan(lake, landing, source, full=True, max_files=10_000_000)
    todo = {day: files for day, files in found.todo.items() if span is None or span.holds(day)}
    files = [file for each in todo.values() for file in each]
    size = sum(file.size for file in files)
    taken, notes = sample(landing, source, files, clock)
    if found.undated_count:
        notes.append(f"{found.undated_count} files belong to no day")
    rows, stored, seconds = taken.of(size)
    known = bool(taken.files) or not files
    return AssetPlan(
        f"bronze/{source.name}", "bytes", tuple(sorted(todo)), files=len(files), bytes=size, requests=0,
        rows=rows if known else None,
        seconds=seconds if known else None,
        stored_bytes=stored if known else None,
        compute_cost=seconds / 3600 * settings.dbu_per_hour * settings.cost_per_dbu_hour if known else None,
        storage_cost_per_month=stored / 1e9 * settings.storage_cost_per_gb if known else None,
        sampled_files=taken.files, notes=tuple(notes),
    )  # fmt: skip


def _of_api(given: outside.ApiFile, settings: Settings) -> AssetPlan:
    """Requests are counted, not sent; the time is what the declared rate allows."""
    source = given.source()
    plan = outside.dry_run(given, "auto").plan
    rate, notes = source.limits.requests_per_second, list[str]()
    counted = plan.requests if source.one_request_a_row else None
    if counted is None:
        notes.append("how many pages a list has is known only after it was read")
    seconds = counted / rate if rate and counted is not None else None
    if seconds is None and counted is not None:
        notes.append("the time is unknown: limits.requests_per_second is not set")
    return AssetPlan(
        source.sink.table, "requests", tuple(plan.send), files=0, bytes=0, requests=counted, seconds=seconds,
        compute_cost=None if seconds is None else seconds / 3600 * settings.dbu_per_hour * settings.cost_per_dbu_hour,
        notes=tuple(notes),
    )  # fmt: skip


def _tables(landing: Landing, source: FileSource, file: File, most_bytes: int) -> Iterator[pa.Table]:
    """The file's rows as a load would make them, up to so many bytes in memory."""
    from asgard_assets.ingest.files.load import known_columns
    from asgard_assets.ingest.files.readers import how_to_read, read_file
    from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
    from asgard_assets.ingest.files.source.query import QueryError

    landing.refuse_outside(file.path)
    how = how_to_read(file.path, source.format, source.compression, source.types == "text")
    conformer, seen, held = (
        Conformer(source, Shape(known_columns(source, {})), datetime.now(UTC)),
        ObservedTypes(),
        0,
    )
    try:
        for records in read_file(landing, file.path, how):
            table = conformer.conform(records, file, seen).table
            held += table.nbytes
            yield table
            if held >= most_bytes:
                return
    except QueryError as error:
        raise SourceError(str(error), source=file.path) from error


def _parquet_bytes(table: pa.Table) -> int:
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return target.tell()
