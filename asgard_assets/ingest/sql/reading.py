"""Rows of a relation into staging: one file a range, written row group by row group, so that memory stays flat."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.sql.blocks import Blocks
from asgard_assets.ingest.sql.fields import Dialect, Field, Session, by_name, texts
from asgard_assets.ingest.sql.source import Split
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.statistics import without_floats

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_ROWS = 5_000_000
_RANGE_BITS = 40
_SAMPLE = 10_000


@dataclass(frozen=True)
class Query:
    """What is read, and the window of its rows."""

    relation: str
    fields: tuple[Field, ...]
    where: str
    day: str


@dataclass
class Figures:
    """What was read: rows, bytes of text, rows with something rescued."""

    rows: int = 0
    bytes: int = 0
    rescued: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: int, size: int, rescued: int) -> None:
        with self._lock:
            self.rows += rows
            self.bytes += size
            self.rescued += rescued


@dataclass(frozen=True)
class Reading:
    """Reads queries into staging, each range by whichever session is free."""

    dialect: Dialect
    lake: Lake
    staging: Staging
    source: str
    chunk_bytes: int
    now: datetime
    numbered: bool
    figures: Figures = field(default_factory=Figures)

    def read(self, sessions: Sequence[Session], query: Query, split: Split | None) -> None:
        """All rows of the query. Raises what the first range that failed raises."""
        wheres = _ranges(self.dialect, sessions[0], query, split) if split else [query.where]
        waiting: SimpleQueue[tuple[int, str]] = SimpleQueue()
        for numbered in enumerate(wheres):
            waiting.put(numbered)
        failed = threading.Event()

        def work(session: Session) -> None:
            while not failed.is_set():
                try:
                    number, where = waiting.get_nowait()
                except Empty:
                    return
                try:
                    self._one(session, query, where, number)
                except BaseException:
                    failed.set()
                    raise

        if len(sessions) == 1:
            work(sessions[0])
            return
        with ThreadPoolExecutor(len(sessions)) as pool:
            for done in [pool.submit(work, session) for session in sessions]:
                done.result()

    def _one(self, session: Session, query: Query, where: str, number: int) -> None:
        with _Writer(self, query.day, number << _RANGE_BITS) as writer:
            blocks = Blocks(query.fields, self.chunk_bytes, writer.add, self.source)
            session.copy(self.dialect.select([*texts(query.fields)], query.relation, where), blocks.write)
            blocks.flush()


class _Writer:
    """Parquet files of one range."""

    def __init__(self, reading: Reading, day: str, first: int) -> None:
        schema = reading.staging.schema
        self._reading, self._day, self._row = reading, day, first
        for name in reading.staging.values(day):
            schema = schema.remove(schema.get_field_index(name))
        self._schema = schema
        self._file: Any = None
        self._writer: Any = None
        self._rows = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._close(kind, error, trace)

    def add(self, rows: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        count = rows.num_rows
        added: dict[str, Any] = {
            "_ingested_at": pa.repeat(pa.scalar(self._reading.now, pa.timestamp("us", "UTC")), count)
        }
        if self._reading.numbered:
            added["_row"] = pa.array(range(self._row, self._row + count), pa.int64())
            self._row += count
        columns = {name: rows[name] for name in rows.column_names} | added
        whole = pa.table(
            [columns[f.name] if f.name in columns else pa.nulls(count, f.type) for f in self._schema],
            schema=self._schema,
        )
        if self._writer is None:
            folder = self._reading.staging.folder(self._day)
            self._file = self._reading.lake.whole(f"{folder}/part-{uuid.uuid4().hex}.parquet")
            statistics: Any = without_floats(self._schema)
            self._writer = pq.ParquetWriter(
                self._file.__enter__(),
                self._schema,
                compression="zstd",
                write_statistics=statistics,
                use_dictionary=_repeated(whole),  # pyright: ignore[reportArgumentType]
            )
        self._writer.write_table(whole, row_group_size=max(count, 1))
        self._rows += count
        self._reading.figures.add(count, rows.nbytes, count - rows["_rescued_data"].null_count)
        if self._rows >= _FILE_ROWS:
            self._close()

    def _close(self, kind: Any = None, error: Any = None, trace: Any = None) -> None:
        if self._writer is not None:
            writer, file, self._writer, self._rows = self._writer, self._file, None, 0
            if kind is None:
                writer.close()
            file.__exit__(kind, error, trace)


def _repeated(rows: pa.Table) -> list[str]:
    """Columns of text that has few values: a dictionary pays there, and costs as much as all the rest elsewhere."""
    import pyarrow as pa

    sample = rows.slice(0, _SAMPLE)
    texts = [f.name for f in rows.schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
    return [name for name in texts if 2 * len(sample[name].unique()) <= sample.num_rows]


def _ranges(dialect: Dialect, session: Session, query: Query, split: Split) -> list[str]:
    """Conditions that cut the rows by the key; the first also has rows without one."""
    import pyarrow as pa

    key = by_name(query.fields).get(split.column)
    if key is None or not (
        pa.types.is_integer(key.type) or (pa.types.is_decimal(key.type) and key.type.scale == 0)
    ):
        raise ConfigError(
            f"`split` needs a column of an integer type; {split.column} is {key.native if key else 'not there'}"
        )
    where = f" where {query.where}" if query.where else ""
    found = session.row(
        f"select {dialect.text(f'min({key.column})')}, {dialect.text(f'max({key.column})')} from {query.relation}{where}"
    )
    if found[0] is None or found[1] is None:
        return [query.where]
    low, high = int(found[0]), int(found[1])
    ends = sorted({low + (high + 1 - low) * n // split.ranges for n in range(1, split.ranges)} - {low})
    edges = [None, *ends, None]
    conditions = []
    for start, end in zip(edges, edges[1:], strict=False):
        parts = [f"{key.column} >= {start}"] if start is not None else []
        parts += [f"{key.column} < {end}"] if end is not None else []
        condition = " and ".join(parts) or "true"
        if start is None:
            condition = f"({condition} or {key.column} is null)"
        conditions.append(f"({query.where}) and {condition}" if query.where else condition)
    return conditions
