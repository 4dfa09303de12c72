"""Big files in parts: where records begin, found by looking at every byte once, in parallel.

A CSV record may hold newlines inside quotes, so where a record begins depends on all quotes before it. Each chunk
is looked at for both cases, inside and outside of quotes at its start; the driver then knows which one holds. The
file is not split where a quote stands inside an unquoted field (there the count of quotes tells nothing), where the
encoding is not a superset of ASCII, or where it is compressed. What a task then reads is counted against what was
found here.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.plan.read_task import Piece
from asgard_assets.ingest.files.readers import Range
from asgard_assets.ingest.files.readers.csv_text import CsvText
from asgard_assets.ingest.files.readers.delimited import delimiter_of, read_header
from asgard_assets.ingest.files.source.formats import (
    Concrete,
    Csv,
    Json,
    Parquet,
    Text,
    archive_of,
    compression_of,
    extension,
    format_of,
)
from asgard_assets.ingest.files.source.models import FileSource

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

SPLIT_BYTES = 64 << 20
_CONTEXT = 2


@dataclass(frozen=True)
class Chunk:
    """Some bytes of a file, to be looked at."""

    path: str
    start: int
    end: int
    size: int
    quote: int
    delimiter: int


@dataclass(frozen=True)
class Look:
    """What a chunk holds, for a start outside (0) and inside (1) of quotes: where the first record begins, how
    many records end, whether the quotes make sense."""

    start: int
    quotes: int
    first: tuple[int, int]
    ends: tuple[int, int]
    sane: tuple[bool, bool]
    tail: bool


def split(
    spark: Callable[[], SparkSession], landing: Landing, source: FileSource, pieces: Sequence[Piece]
) -> tuple[list[Piece], dict[tuple[str, int], int]]:
    """The pieces, big files in parts; and for parts of CSV how many records each must have, by path and start."""
    whole, big, chunks = list[Piece](), list[Piece](), list[Chunk]()
    for piece in pieces:
        how = format_of(piece.file.path, source.format)
        if piece.file.size < 2 * SPLIT_BYTES or not is_splittable(piece.file.path, how, source):
            whole.append(piece)
        elif isinstance(how, Parquet):
            whole += row_groups_of(landing, piece)
        else:
            big.append(piece)
            chunks += chunks_of(piece.file, how)
    if not big:
        return whole, {}
    looks: dict[str, list[Look]] = {}
    for path, look in _look_at(spark(), landing, chunks):
        looks.setdefault(path, []).append(look)
    expected: dict[tuple[str, int], int] = {}
    for piece in big:
        how = format_of(piece.file.path, source.format)
        parts = ranges_of(
            landing, piece.file, how, sorted(looks[piece.file.path], key=lambda each: each.start)
        )
        for part, count in parts:
            whole.append(Piece(piece.ds, piece.file, part))
            if isinstance(how, Csv) and part is not None:
                expected[piece.file.path, part.start] = count
    return whole, expected


def is_splittable(path: str, how: Concrete | None, source: FileSource) -> bool:
    if compression_of(path, source.compression) or archive_of(path, source.format):
        return False
    match how:
        case Csv():
            has_more = how.escape or how.skip_lines or how.skip_footer or how.comment
            return not has_more and _ascii(how.encoding) and len((how.quote or "").encode()) <= 1
        case Json():
            lines = how.layout == "lines" or (how.layout == "auto" and extension(path) != ".json")
            return lines and not how.records and how.utf8
        case Text():
            return not how.whole and _ascii(how.encoding)
        case Parquet():
            return True
        case _:
            return False


def _ascii(encoding: str) -> bool:
    name = codecs.lookup(encoding).name
    return name in ("utf-8", "ascii") or name.startswith(("iso8859", "cp125"))


def chunks_of(file: File, how: Concrete | None) -> list[Chunk]:
    quote = ord(how.quote) if isinstance(how, Csv) and how.quote else -1
    delimiter = ord(delimiter_of(file.path, how)) if isinstance(how, Csv) else -1
    starts = list(range(0, file.size, SPLIT_BYTES))
    if len(starts) > 1 and file.size - starts[-1] < SPLIT_BYTES // 4:
        starts.pop()
    ends = [*starts[1:], file.size]
    return [Chunk(file.path, s, e, file.size, quote, delimiter) for s, e in zip(starts, ends, strict=True)]


def _look_at(spark: SparkSession, landing: Landing, chunks: Sequence[Chunk]) -> Iterator[tuple[str, Look]]:
    from dataclasses import asdict

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            found = []
            for text in batch.column("chunk").to_pylist():
                chunk = Chunk(**json.loads(text))
                found.append(json.dumps([chunk.path, asdict(look_at(landing, chunk))]))
            yield pa.record_batch([pa.array(found, pa.string())], names=["look"])

    rows = [(number, json.dumps(asdict(chunk))) for number, chunk in enumerate(chunks)]
    frame = spark.createDataFrame(rows, "task int, chunk string")
    frame = frame.repartitionById(len(rows), frame["task"]).select("chunk")
    for row in frame.mapInArrow(work, "look string").collect():
        path, look = json.loads(row["look"])
        pairs: dict[str, Any] = {name: tuple(look.pop(name)) for name in ("first", "ends", "sane")}
        yield path, Look(**look, **pairs)


def look_at(landing: Landing, chunk: Chunk) -> Look:
    """Count the records that end in a chunk, both for a start inside and outside of quotes."""
    import numpy as np

    before = max(0, chunk.start - _CONTEXT)
    wanted, raw = min(chunk.end + 1, chunk.size) - before, b""
    with suppress(OSError, SourceError), landing.open_file(chunk.path) as file:
        file.seek(before)
        raw = file.read(wanted)
    if len(raw) < wanted:  # removed or cut since it was listed: whoever reads it says so
        return Look(chunk.start, 0, (-1, -1), (0, 0), (False, False), False)
    lead = chunk.start - before
    data = np.frombuffer(raw, dtype=np.uint8)
    body = data[lead : lead + chunk.end - chunk.start]
    quotes = np.flatnonzero(body == chunk.quote) if chunk.quote >= 0 else np.array([], "int64")
    newlines = np.flatnonzero(body == 10)
    inside = np.searchsorted(quotes, newlines) & 1
    if chunk.delimiter >= 0:
        # Padded so that there is always a byte before and after.
        padded = np.concatenate([np.full(_CONTEXT - lead, 10, np.uint8), data, np.array([10], np.uint8)])
        previous, earlier = padded[newlines + 1], padded[newlines]
        full = ~((previous == 10) | ((previous == 13) & (earlier == 10)))
        returns = np.flatnonzero(body == 13)
        lone = bool((padded[returns + _CONTEXT + 1] != 10).any())
        sane = tuple(not lone and _sane(padded, quotes, parity, chunk) for parity in (0, 1))
    else:
        full, sane = np.ones(len(newlines), bool), (True, True)
    first, ends = [], []
    for parity in (0, 1):
        mine = newlines[(inside == parity) & full]
        first.append(chunk.start + int(mine[0]) + 1 if len(mine) else -1)
        ends.append(len(mine))
    tail = chunk.end == chunk.size and bool(len(body)) and int(body[-1]) != 10
    return Look(chunk.start, len(quotes), (first[0], first[1]), (ends[0], ends[1]), (sane[0], sane[1]), tail)


def _sane(padded: Any, quotes: Any, parity: int, chunk: Chunk) -> bool:
    """Whether each quote opens a field, closes one, or is one of a doubled pair: else counting them tells nothing."""
    import numpy as np

    if not len(quotes):
        return True
    around = np.zeros(256, bool)
    around[[10, 13, chunk.delimiter, chunk.quote]] = True
    opening = (np.arange(len(quotes)) + parity) % 2 == 0
    opened = around[padded[quotes[opening] + _CONTEXT - 1]]
    if chunk.start == 0 and len(opened) and parity == 0 and quotes[0] == 3:
        opened[0] = True  # behind a byte order mark
    return bool(opened.all() and around[padded[quotes[~opening] + _CONTEXT + 1]].all())


def ranges_of(
    landing: Landing, file: File, how: Concrete | None, looks: Sequence[Look]
) -> list[tuple[Range | None, int]]:
    """Parts of the file with the records that each must have; one None where it cannot be split."""
    parity, starts, counts = 0, [0], [0]
    for look in looks:
        if not look.sane[parity]:
            return [(None, 0)]
        first, ends = look.first[parity], look.ends[parity]
        if look.start == 0 or first < 0:
            counts[-1] += ends
        else:
            counts[-1] += 1
            starts.append(first)
            counts.append(ends - 1)
        parity ^= look.quotes & 1
    if parity:
        return [(None, 0)]
    counts[-1] += looks[-1].tail
    names: list[str] | None = None
    rows = 0
    if isinstance(how, Csv):
        with suppress(OSError, ValueError, SourceError), landing.open_stream(file.path) as stream:
            text = CsvText(stream, delimiter_of(file.path, how), how)
            if not text.says_separator:
                names, _, _ = read_header(text, text.delimiter, how, "utf8")
        if names is None:
            return [(None, 0)]
        counts[0] -= int(how.header)
    found: list[tuple[Range | None, int]] = []
    for index, (start, end, count) in enumerate(zip(starts, [*starts[1:], file.size], counts, strict=True)):
        if end > start:
            found.append((Range(start, end, rows, tuple(names) if names and index else ()), count))
        rows += count
    return found


def row_groups_of(landing: Landing, piece: Piece) -> list[Piece]:
    """Row groups of a Parquet file in parts of some size; the file as it is where its footer cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with landing.open_file(piece.file.path) as file:
            footer = pq.read_metadata(file)
    except (pa.ArrowException, OSError, SourceError):
        return [piece]
    parts, begin, rows, size, count = list[Piece](), 0, 0, 0, 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        size += group.total_byte_size
        count += group.num_rows
        if size >= SPLIT_BYTES or index == footer.num_row_groups - 1:
            parts.append(Piece(piece.ds, piece.file, Range(begin, index + 1, rows)))
            begin, rows, size, count = index + 1, rows + count, 0, 0
    return parts or [piece]
