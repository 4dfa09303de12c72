"""What is done with the files of a task: read, shape, write Parquet into staging, and hand only figures back.

A file's rows enter a shared part only when the whole file was read; a file too big for that gets parts of its own.
So what a bad file left behind can be dropped without touching any other.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.plan.quarantine import as_table, rows_of
from asgard_assets.ingest.files.readers import Bad, Range, how_to_read, read_file
from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, QueryError, Shape
from asgard_assets.ingest.files.source.models import ByColumn, FileSource
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.staging import partition_folder
from asgard_assets.lake.statistics import without_floats
from asgard_assets.windows import window_of

if TYPE_CHECKING:
    import pyarrow as pa

_PART_BYTES = 96 << 20


@dataclass(frozen=True)
class ReadTask:
    """What every Spark task is told."""

    landing: Landing
    lake: Lake
    staging_path: str
    quarantine_path: str
    source: FileSource
    shape: Shape
    ingested_at: datetime


@dataclass(frozen=True)
class Piece:
    """A file, or a part of one, that a task reads for the day `ds`."""

    ds: str
    file: File
    part: Range | None = None

    def row(self) -> str:
        file, part = self.file, self.part
        told = {"path": file.path, "size": file.size, "modified_us": file.modified_us, "etag": file.etag}
        return json.dumps({"ds": self.ds, "file": told, "part": vars(part) if part else None})

    @classmethod
    def of(cls, text: str) -> Piece:
        told = json.loads(text)
        part = told["part"]
        names = tuple(part.pop("names")) if part else ()
        return cls(told["ds"], File(**told["file"]), Range(**part, names=names) if part else None)


@dataclass
class Outcome:
    """What became of a piece. `rows` are in the table, `bad` in quarantine, `left_out` by the source's SQL."""

    path: str
    ds: str
    start: int | None = None
    rows: int = 0
    rescued: int = 0
    bad: int = 0
    left_out: int = 0
    columns: dict[str, str] = field(default_factory=dict[str, str])
    wants: dict[str, str] = field(default_factory=dict[str, str])
    misfits: dict[str, str] = field(default_factory=dict[str, str])
    error: str = ""
    changed: bool = False

    @property
    def records(self) -> int:
        return self.rows + self.bad + self.left_out


@dataclass(frozen=True)
class Part:
    """A Parquet file in staging: rows of day `day`, from pieces that the days `load_days` load."""

    uri: str
    day: str
    load_day: str
    files: tuple[str, ...]
    quarantine: bool = False


class Worker:
    """Handles pieces one after the other and gathers their rows into parts."""

    def __init__(self, task: ReadTask) -> None:
        self._task = task
        self._conformer = Conformer(task.source, task.shape, task.ingested_at)
        self._buffer: list[pa.Table] = []
        self._paths: list[str] = []
        self._load_day = ""
        self._bytes = 0
        self._bad: list[dict[str, Any]] = []
        self._bad_bytes = 0
        self._bad_paths: list[str] = []
        self.parts: list[Part] = []

    def handle(self, piece: Piece) -> Outcome:
        """Read the piece. What is wrong with it is told in the outcome, not raised."""
        if piece.ds != self._load_day:
            self.flush()
            self._load_day = piece.ds
        task, file = self._task, piece.file
        outcome = Outcome(file.path, piece.ds, piece.part.start if piece.part else None)
        seen, tables, bad, size = ObservedTypes(), list[Any](), list[Bad](), 0
        own: list[Part] = []
        try:
            how = how_to_read(
                file.path, task.source.format, task.source.compression, task.source.types == "text"
            )
            for records in read_file(task.landing, file.path, how, piece.part):
                found = self._conformer.conform(records, file, seen)
                table, misfits = found.table, found.bad
                if task.source.bad_rows == "rescue" and misfits:
                    table, misfits = self._with_rescued(table, misfits, file), []
                outcome.rows += table.num_rows
                outcome.rescued += found.rescued + len(found.bad) - len(misfits)
                outcome.bad += len(misfits)
                outcome.left_out += len(records.rows) + len(records.bad) - table.num_rows - len(misfits)
                bad += misfits
                tables.append(table)
                size += table.nbytes
                if size > _PART_BYTES:
                    own += self._write(tables, piece.ds, (file.path,))
                    tables, size = [], 0
        except (SourceError, QueryError) as error:
            outcome.error = error.message if isinstance(error, SourceError) else f"{file.path}: {error}"
        if task.landing.look(file.path) != file:
            outcome.changed = True
            outcome.error = f"{file.path} was changed or removed while it was being loaded; the next load takes it as it is then"
        outcome.columns, outcome.wants, outcome.misfits = seen.columns, seen.wants, seen.misfits
        self.parts += own
        if not outcome.error:
            if own or piece.part is not None:
                self.parts += self._write(tables, piece.ds, (file.path,))
            else:
                self._take(tables, file.path, size)
            self._take_bad(rows_of(file, bad, task.ingested_at), file.path)
        return outcome

    def _take(self, tables: list[pa.Table], path: str, size: int) -> None:
        self._buffer += [table for table in tables if table.num_rows]
        self._paths.append(path)
        self._bytes += size
        if self._bytes > _PART_BYTES:
            self._flush_rows()

    def _take_bad(self, rows: list[dict[str, Any]], path: str) -> None:
        if rows:
            self._bad += rows
            self._bad_paths.append(path)
            self._bad_bytes += sum(len(row["raw"]) for row in rows)
            if self._bad_bytes > _PART_BYTES:
                self._flush_bad()

    def flush(self) -> None:
        """Write what is gathered."""
        self._flush_rows()
        self._flush_bad()

    def _flush_rows(self) -> None:
        if self._buffer:
            self.parts += self._write(self._buffer, self._load_day, tuple(self._paths))
        self._buffer, self._paths, self._bytes = [], [], 0

    def _flush_bad(self) -> None:
        if self._bad:
            uri = f"{self._task.quarantine_path}/{partition_folder(window_of(self._load_day))}/part-{uuid.uuid4().hex}.parquet"
            self._write_parquet(as_table(self._bad), uri)
            self.parts.append(
                Part(uri, self._load_day, self._load_day, tuple(dict.fromkeys(self._bad_paths)), True)
            )
        self._bad, self._bad_paths, self._bad_bytes = [], [], 0

    def _write(self, tables: list[pa.Table], load_day: str, files: tuple[str, ...]) -> list[Part]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not any(table.num_rows for table in tables):
            return []
        whole = pa.concat_tables(tables, promote_options="default")
        days = [load_day]
        if isinstance(self._task.source.ds, ByColumn):
            days = sorted(set(whole[DS].to_pylist()))
        parts = []
        for day in days:
            rows = whole
            if DS in whole.column_names:
                rows = (whole.filter(pc.field(DS) == day) if len(days) > 1 else whole).drop_columns([DS])
            uri = f"{self._task.staging_path}/{partition_folder(day, self._task.source.second)}/part-{uuid.uuid4().hex}.parquet"
            self._write_parquet(rows, uri)
            parts.append(Part(uri, day, load_day, files))
        return parts

    def _write_parquet(self, rows: pa.Table, uri: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        statistics: Any = without_floats(rows.schema)
        with self._task.lake.whole(uri) as file:
            pq.write_table(rows, file, compression="zstd", write_statistics=statistics)
        # Spark keeps its Python workers: what Arrow's pool holds for the next part would stay with each of them.
        pa.default_memory_pool().release_unused()

    def _with_rescued(self, table: pa.Table, bad: list[Bad], file: File) -> pa.Table:
        """The rows, and one without columns for each bad record, whose text and reason are rescued."""
        import pyarrow as pa

        texts = [json.dumps({"_error": b.reason, "_record": b.raw}, ensure_ascii=False) for b in bad]
        extra = self._conformer.technical(_numbers(bad), [*texts], file)
        if DS in table.column_names:
            extra[DS] = pa.repeat(pa.scalar(self._load_day), len(bad))
        return pa.concat_tables([table, pa.table(extra)], promote_options="default")


def _numbers(bad: list[Bad]) -> Any:
    import numpy as np

    return np.array([b.row for b in bad], "int64")


def run_task(pieces: Iterable[str], task: ReadTask) -> Iterator[str]:
    """Handle the pieces, each as `Piece.row` writes it, and yield outcomes and parts as JSON."""
    worker = Worker(task)
    for text in pieces:
        yield json.dumps({"outcome": vars(worker.handle(Piece.of(text)))})
    worker.flush()
    for part in worker.parts:
        yield json.dumps({"part": vars(part)})
