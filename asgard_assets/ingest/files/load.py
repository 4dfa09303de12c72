"""Load days of files into staging: one Spark job for a whole range, whose tasks write the Parquet files.

The driver lists, writes a plan for each day and hands the planned files to Spark tasks, near-equal in bytes.
A task reads its files, writes what they hold into the staging folder and hands only figures back: no pass to
infer a schema, no row through the JVM. A file that cannot be read fails its day and no other.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.conform import Shape, conform, technical_fields, unwrapped
from asgard_assets.ingest.files.landing import File, Landing, walk
from asgard_assets.ingest.files.listing import chosen as is_chosen
from asgard_assets.ingest.files.listing import day_of, newest_generation
from asgard_assets.ingest.files.manifest import open_manifest
from asgard_assets.ingest.files.merge import merge, seen_days
from asgard_assets.ingest.files.models import TECHNICAL, FileSource
from asgard_assets.ingest.files.plans import app_id, write_plan
from asgard_assets.ingest.files.records import read_file
from asgard_assets.lake import DS, Lake, Staging

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_TASK_BYTES = 16 << 20
_PART_BYTES = 64 << 20


@dataclass
class DayFigures:
    """What one day's files held. `deleted_files` are gone from the landing; their rows stay in the table."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    rescued_rows: int = 0
    deleted_files: int = 0


@dataclass(frozen=True)
class Loaded:
    """Staged days, ready to be audited and published together with their plans.

    `failed` names the days that must not be published and the files to blame; nothing of them is staged.
    """

    staging: Staging
    plans: Mapping[str, int]
    days: Mapping[str, DayFigures]
    failed: Mapping[str, str]
    new_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    undated: tuple[str, ...]
    moved_days: tuple[str, ...] = ()
    superseded_rows: int = 0
    deleted_rows: int = 0


@dataclass(frozen=True)
class _Task:
    """What every Spark task is told."""

    landing: Landing
    lake: Lake
    staging_path: str
    source: FileSource
    shape: Shape
    ingested_at: datetime


@dataclass
class _FileFigures:
    path: str
    ds: str
    rows: int = 0
    rescued_rows: int = 0
    columns: list[str] = field(default_factory=list)
    error: str = ""


def load(
    spark: SparkSession,
    lake: Lake,
    landing: Landing,
    source: FileSource,
    days: Sequence[str],
    now: datetime | None = None,
) -> Loaded:
    """Stage all files of `days`. Running it twice stages the same rows; publishing replaces whole days.

    Raises SourceError where the source's folder does not exist. A day without files is staged empty.
    """
    import pyarrow as pa

    table = lake.table("bronze", source.name)
    present = [f.name for f in pa.schema(table.schema().to_arrow())] if table else []
    known = list(dict.fromkeys([*source.columns, *(n for n in present if n not in TECHNICAL)]))
    seen = seen_days(lake, source)
    # Staged before listing: a load that publishes one of the days after this line wins, and this one is told.
    staging = lake.stage("bronze", source.name, _schema(known), days)
    chosen: dict[str, list[File]] = {day: [] for day in days}
    undated: list[str] = []
    for file in walk(landing, source, days=set(days)):
        day = day_of(source, file) if is_chosen(source, file.path) else ""
        if day is None:
            undated.append(file.path.encode("utf-8", "backslashreplace").decode())
        elif day in chosen:
            chosen[day].append(file)
    if source.files == "snapshot":
        chosen = {day: newest_generation(files) for day, files in chosen.items()}
    if undated:
        log.warning("%s: no day in the name of %s", source.name, ", ".join(undated[:5]))
    before: dict[str, list[File]] = {}
    manifest = open_manifest(lake, source.name, fold=True)
    for entry in manifest.of_days(set(days)).values():
        before.setdefault(entry.ds, []).append(entry.file)
    kept = {day: _gone(source, before.get(day), files) for day, files in chosen.items()}
    plan = write_plan(
        lake,
        source.name,
        {day: manifest.numbers.get(day, 0) for day in days},
        {day: [*files, *kept[day]] for day, files in chosen.items()},
        replaces=True,
    )
    task = _Task(
        landing,
        lake,
        staging.path,
        source,
        Shape(source.schema_mode, tuple(known)),
        now or datetime.now(UTC),
    )
    figures, parts = _run(spark, task, chosen)

    failed: dict[str, str] = {}
    for each in figures:
        if each.error:
            failed[each.ds] = "; ".join(filter(None, [failed.get(each.ds), each.error]))
    _sweep(lake, staging, parts, failed)
    _keep(lake, staging, present, {day: files for day, files in kept.items() if day not in failed})
    found = list(dict.fromkeys(name for each in figures if each.ds not in failed for name in each.columns))
    new = [name for name in found if name not in known]
    _refuse_two_spellings(source, new)
    merged = merge(lake, source, replace(staging, schema=_schema([*known, *new])), seen, failed)
    return Loaded(
        merged.staging,
        {app_id(source.name, day): plan.number for day in days if day not in failed},
        {day: _day_figures(day, chosen[day], figures, len(kept[day])) for day in days},
        failed,
        tuple(new) if known else (),
        tuple(name for name in known if name not in found) if found else (),
        tuple(undated),
        merged.moved_days,
        merged.superseded_rows,
        merged.deleted_rows,
    )


def _run(
    spark: SparkSession, task: _Task, chosen: Mapping[str, Sequence[File]]
) -> tuple[list[_FileFigures], set[str]]:
    """One Spark job over all files; figures of each, and the Parquet files that successful tasks reported."""
    files = [(day, file) for day, listed in chosen.items() for file in listed]
    if not files:
        return [], set()
    rows, bin_bytes, number = [], 0, 0
    for day, file in files:
        if bin_bytes > _TASK_BYTES:
            number, bin_bytes = number + 1, 0
        bin_bytes += file.size
        rows.append((number, day, file.path, file.size, file.modified_us))
    frame = spark.createDataFrame(rows, "task int, ds string, path string, size long, modified_us long")
    frame = frame.coalesce(1) if number == 0 else frame.repartitionById(number + 1, frame["task"])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _stage_files(batches, task)

    figures, parts = [], set()
    for row in frame.mapInArrow(work, "figure string").collect():
        found = json.loads(row["figure"])
        if "part" in found:
            parts.add(found["part"])
        else:
            figures.append(_FileFigures(**found))
    return sorted(figures, key=lambda f: (f.ds, f.path)), parts


def _stage_files(batches: Iterator[pa.RecordBatch], task: _Task) -> Iterator[pa.RecordBatch]:
    """In a Spark task: write the files' records as Parquet, a few files a day, and yield figures as JSON."""
    import pyarrow as pa

    told: list[dict[str, Any]] = []
    buffer: list[pa.Table] = []
    buffered, buffered_day = 0, ""

    def flush() -> None:
        nonlocal buffer, buffered
        if buffer:
            told.append({"part": _write_part(task, buffered_day, buffer)})
        buffer, buffered = [], 0

    for batch in batches:
        for planned in batch.to_pylist():
            if planned["ds"] != buffered_day:
                flush()
                buffered_day = planned["ds"]
            file = File(planned["path"], planned["size"], planned["modified_us"])
            figures = _FileFigures(file.path, buffered_day)
            try:
                for table, rescued in _tables(task, file):
                    figures.rows += table.num_rows
                    figures.rescued_rows += rescued
                    figures.columns += [
                        n for n in table.column_names if n not in TECHNICAL and n not in figures.columns
                    ]
                    buffer.append(table)
                    buffered += table.nbytes
                    if buffered > _PART_BYTES:
                        flush()
            except SourceError as error:
                figures.error = str(error)
            told.append(asdict(figures))
    flush()
    if told:
        yield pa.record_batch([pa.array([json.dumps(each) for each in told])], names=["figure"])


def _tables(task: _Task, file: File) -> Iterator[tuple[pa.Table, int]]:
    """The file's rows in the table's shape. Raises SourceError also where the file is not the planned one."""
    _refuse_changed(task.landing, file)
    for records in read_file(task.landing, file.path, task.source.csv):
        yield conform(unwrapped(records, task.source.unwrap), task.shape, file, task.ingested_at)
    _refuse_changed(task.landing, file)


def _refuse_changed(landing: Landing, file: File) -> None:
    if landing.look(file.path) != file:
        raise SourceError(
            f"{file.path} was changed or removed while it was being loaded; load the day again",
            source=file.path,
        )


def _write_part(task: _Task, day: str, tables: list[pa.Table]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    filesystem = task.lake.filesystem
    folder = f"{task.staging_path}/{DS}={day}"
    path = f"{folder}/part-{uuid.uuid4().hex}.parquet"
    filesystem.create_dir(folder.removeprefix("s3://"), recursive=True)
    whole = pa.concat_tables(tables, promote_options="default")
    pq.write_table(whole, path.removeprefix("s3://"), filesystem=filesystem, compression="zstd")
    return path


def _sweep(lake: Lake, staging: Staging, parts: set[str], failed: Mapping[str, str]) -> None:
    """Remove what must not be published: leftovers of task attempts that died, and days that failed."""
    for day, uris in lake.staged_files(staging).items():
        for uri in uris:
            if day in failed or uri not in parts:
                lake.filesystem.delete_file(uri.removeprefix("s3://"))


def _gone(source: FileSource, before: Sequence[File] | None, listed: Sequence[File]) -> list[File]:
    """Files that were loaded, are no longer there and are not replaced by others: their rows stay."""
    if source.files == "snapshot" and listed:
        return []
    paths = {file.path for file in listed}
    return [file for file in before or () if file.path not in paths]


def _keep(lake: Lake, staging: Staging, present: Sequence[str], kept: Mapping[str, Sequence[File]]) -> None:
    """Carry the rows of files that are gone over into the replaced day: clearing the landing loses nothing."""
    table = lake.table(staging.stage, staging.name)
    for day, files in kept.items():
        if files and table is not None:
            paths = [file.path for file in files]
            rows = table.to_pyarrow_table(filters=[(DS, "=", day), ("_file", "in", paths)])
            schema = _schema([name for name in present if name not in TECHNICAL])
            lake.write(replace(staging, schema=schema, days=(day,)), rows)


def _day_figures(day: str, files: Sequence[File], figures: Sequence[_FileFigures], kept: int) -> DayFigures:
    mine = [each for each in figures if each.ds == day]
    return DayFigures(
        len(files),
        sum(file.size for file in files),
        sum(each.rows for each in mine),
        sum(each.rescued_rows for each in mine),
        kept,
    )


def _refuse_two_spellings(source: FileSource, new: Sequence[str]) -> None:
    spellings: dict[str, str] = {}
    for name in new:
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise SourceError(
                f"{source.name}: its files spell one column {other!r} and {name!r}; name it under `columns` in the "
                "source's defs.yaml, and that spelling is used for both",
                source=source.name,
            )


def _schema(columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([*((name, pa.string()) for name in columns), *technical_fields(), (DS, pa.string())])
