"""From a file's bytes to Arrow tables of text. Nothing is guessed, nothing is dropped.

A record that fits gives a row of text columns. One that does not (a CSV record with another number of fields
than the header, a JSON line that is no object) gives a row without columns whose raw text stands in `rescued`
with the reason.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.models import CsvOptions, format_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BATCH_ROWS = 50_000
_CSV_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Records:
    """Some records of one file: text columns under the file's own names, raw misfits, positions in the file."""

    columns: pa.Table
    rescued: list[str | None] | None
    rows: np.ndarray


def read_file(landing: Landing, path: str, options: CsvOptions) -> Iterator[Records]:
    """Yield the file's records in batches. Raises SourceError, naming the file, where it cannot be read."""
    import pyarrow as pa

    kind, compression = format_of(path)
    if kind is None:
        raise SourceError(
            f"{path}: not a format that is read here (csv, tsv, json, jsonl, ndjson, parquet, each but parquet also "
            ".gz); leave it out with `glob` in the source's defs.yaml",
            source=path,
        )
    try:
        if kind == "parquet":
            yield from _parquet(landing, path)
            return
        with landing.filesystem.open_input_stream(
            landing.full(path), compression=compression or None
        ) as stream:
            if kind == "csv":
                yield from _csv(stream, path, options)
            elif path.lower().removesuffix(".gz").endswith(".json"):
                yield from _json(_document(stream.read()))
            else:
                yield from _json(enumerate(io.BufferedReader(stream, 1 << 20)))
    except (OSError, EOFError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise SourceError(f"{path} cannot be read: {error}", source=path) from error


# CSV -----------------------------------------------------------------------------------------------------


def _csv(stream: IO[bytes], path: str, options: CsvOptions) -> Iterator[Records]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pc

    default = "\t" if path.lower().removesuffix(".gz").endswith(".tsv") else ","
    delimiter = options.delimiter or default
    source = _Peeked(stream)
    header, blank_lines, more = _header(source, delimiter, options)
    if header is None:
        return
    # Placeholders: the names come back below, duplicates and all.
    keys = [str(i) for i in range(len(header))]
    if not more:
        yield Records(
            _named(pa.table([pa.array([], pa.string())] * len(keys), names=keys), header), None, np.arange(0)
        )
        return
    misfits: dict[int, str] = {}

    def keep(row: pc.InvalidRow) -> str:
        # The header is record 1, and skipped blank lines are counted.
        index = row.number - 2 - blank_lines
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        misfits[index] = json.dumps({"_error": reason, "_record": row.text}, ensure_ascii=False)
        return "skip"

    reader = pc.open_csv(
        source.rewound(),
        pc.ReadOptions(
            use_threads=False,
            block_size=_CSV_BLOCK_BYTES,
            column_names=keys,
            skip_rows=blank_lines,
            skip_rows_after_names=1,
            encoding=options.encoding,
        ),
        pc.ParseOptions(
            delimiter=delimiter,
            quote_char=options.quote,
            escape_char=options.escape or False,
            newlines_in_values=True,
            invalid_row_handler=keep,
        ),
        pc.ConvertOptions(
            column_types={key: pa.string() for key in keys},
            null_values=list(options.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    start = 0
    for batch in reader:
        rows = _skipping(start, batch.num_rows, misfits)
        if len(rows):
            start = int(rows[-1]) + 1
        yield Records(_named(pa.Table.from_batches([batch]), header), None, rows)
    if misfits:
        indices = sorted(misfits)
        yield Records(_no_columns(len(indices)), [misfits[i] for i in indices], np.array(indices))


class _Peeked(io.RawIOBase):
    """A stream whose beginning was read to see the header, and that can then be read from the start."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._seen = bytearray()
        self._replay: int | None = None

    def readable(self) -> bool:
        return True

    def rewound(self) -> _Peeked:
        self._replay = 0
        return self

    def readinto(self, buffer: Any) -> int:
        if self._replay is None:
            data = self._stream.read(min(len(buffer), 65536))
            self._seen += data
        elif self._replay < len(self._seen):
            data = bytes(self._seen[self._replay : self._replay + len(buffer)])
            self._replay += len(data)
        else:
            self._seen = bytearray()
            self._replay = 0
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _header(source: _Peeked, delimiter: str, options: CsvOptions) -> tuple[list[str] | None, int, bool]:
    """The first record, how many blank lines stand before it, and whether anything follows."""
    encoding = "utf-8-sig" if options.encoding.lower().replace("-", "") == "utf8" else options.encoding
    text = io.TextIOWrapper(io.BufferedReader(source, 65536), encoding=encoding, newline="")
    records = csv.reader(
        text, delimiter=delimiter, quotechar=options.quote, escapechar=options.escape, strict=False
    )
    blank, header, more = 0, None, False
    for record in records:
        if header is not None:
            more = more or bool(record)
            if more:
                break
        elif record:
            header = record
        else:
            blank += 1
    text.detach().detach()
    return header, blank, more


def _skipping(start: int, count: int, misfits: Iterable[int]) -> np.ndarray:
    """The next `count` positions from `start` on that no misfit holds."""
    import numpy as np

    late = np.array([i for i in misfits if i >= start], dtype="int64")
    candidates = np.arange(start, start + count + len(late))
    return candidates[~np.isin(candidates, late)][:count]


def _named(table: pa.Table, header: list[str]) -> pa.Table:
    names = [name.strip() or f"_c{i}" for i, name in enumerate(header)]
    return table.rename_columns(names)


# JSON ----------------------------------------------------------------------------------------------------


class _Number(str):
    """A JSON number as it was written: no digit is lost on the way."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _document(content: bytes) -> Iterator[tuple[int, Any]]:
    """Records of a `.json` file: the elements of one array, one object, or a record per line."""
    text = content.decode("utf-8-sig")
    try:
        document = _DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError):
        yield from enumerate(content.splitlines(keepends=True))
        return
    yield from enumerate(document if isinstance(document, list) else [document])


def _json(lines: Iterable[tuple[int, Any]]) -> Iterator[Records]:
    good: list[dict[str, str | None]] = []
    good_rows: list[int] = []
    rescued: list[str | None] = []
    rescued_rows: list[int] = []
    for index, line in lines:
        record, reason = parsed(line)
        if isinstance(record, dict):
            try:
                texts = {key: text_of(value) for key, value in record.items()}
                "".join([*texts, *filter(None, texts.values())]).encode()
            except (RecursionError, UnicodeEncodeError) as error:
                reason = f"no text column can hold it: {error}"
            else:
                good.append(texts)
                good_rows.append(index)
        if reason is not None:
            rescued.append(json.dumps({"_error": reason, "_record": _raw(line)}, ensure_ascii=False))
            rescued_rows.append(index)
        if len(good) + len(rescued) >= _BATCH_ROWS:
            yield from _batch(good, good_rows, rescued, rescued_rows)
            good, good_rows, rescued, rescued_rows = [], [], [], []
    yield from _batch(good, good_rows, rescued, rescued_rows)


def _raw(line: Any) -> str:
    """The record as it was written, as far as text can say it."""
    if isinstance(line, bytes):
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    try:
        return (text_of(line) or "null").encode("utf-8", "backslashreplace").decode()
    except RecursionError:
        return "(nested too deeply to be written down)"


def parsed(line: Any) -> tuple[Any, str | None]:
    """The object, or why it is none; blank lines are neither."""
    if isinstance(line, bytes):
        try:
            text = line.decode("utf-8-sig")
            if not text.strip():
                return None, None
            line = _DECODER.decode(text.strip())
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            return None, str(error)
    return line, None if isinstance(line, dict) else "not a JSON object"


def text_of(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if isinstance(value, _Number):
        return str(value)
    return _dump(value)


def _dump(value: Any) -> str:
    """JSON text, with numbers as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        inside = ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_dump(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _batch(
    good: list[dict[str, str | None]],
    good_rows: list[int],
    rescued: list[str | None],
    rescued_rows: list[int],
) -> Iterator[Records]:
    import numpy as np
    import pyarrow as pa

    if good:
        names = list(dict.fromkeys(name for record in good for name in record))
        columns = [pa.array([record.get(name) for record in good], pa.string()) for name in names]
        table = pa.table(columns, names=names) if names else _no_columns(len(good))
        yield Records(table, None, np.array(good_rows))
    if rescued:
        yield Records(_no_columns(len(rescued)), rescued, np.array(rescued_rows))


def _no_columns(rows: int) -> pa.Table:
    """A table of so many rows and no column."""
    import pyarrow as pa

    return pa.table({"": pa.nulls(rows)}).select([])


# Parquet -------------------------------------------------------------------------------------------------


def _parquet(landing: Landing, path: str) -> Iterator[Records]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    with landing.filesystem.open_input_file(landing.full(path)) as file:
        start = 0
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
            columns = [_as_text(column) for column in batch.columns]
            table = pa.table(columns, names=batch.schema.names)
            yield Records(table, None, np.arange(start, start + batch.num_rows))
            start += batch.num_rows


def _as_text(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        values = [None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()]
        return pa.array(values, pa.string())
    if pa.types.is_nested(column.type):
        values = [
            None if v is None else json.dumps(v, default=str, ensure_ascii=False) for v in column.to_pylist()
        ]
        return pa.array(values, pa.string())
    return pc.cast(column, pa.string())
