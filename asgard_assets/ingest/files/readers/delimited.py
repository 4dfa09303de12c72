"""Delimited text: records as columns of text, ragged and undecodable ones told."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers import one_column
from asgard_assets.ingest.files.readers.csv_text import BEHIND, CsvText
from asgard_assets.ingest.files.readers.records import MAX_RECORD, Bad, Range, Records
from asgard_assets.ingest.files.source.formats import Csv, extension

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BLOCKS = (16 << 20, 2 * MAX_RECORD)
_TAIL_BYTES = 4096
_BOM = b"\xef\xbb\xbf"


def delimiter_of(path: str, options: Csv) -> str:
    return options.delimiter or ("\t" if extension(path) == ".tsv" else ",")


def records(
    opened: Callable[[], IO[bytes]], path: str, options: Csv, part: Range | None
) -> Iterator[Records]:
    """Yield the records.

    Where one is longer than a block, or ragged and not UTF-8, the file is opened again and read in another way;
    what was yielded before is passed over.
    """
    import pyarrow as pa

    passed, told, block, as_bytes = -1, set[int](), 0, False
    while True:
        with opened() as stream:
            try:
                for found in _records(stream, path, options, part, BLOCKS[block], as_bytes):
                    fresh = _behind(found, passed, told)
                    passed = max(passed, int(found.rows[-1]) if len(found.rows) else -1)
                    told.update(bad.row for bad in found.bad)
                    yield fresh
                return
            except pa.ArrowInvalid as error:
                if "straddling object" in str(error):
                    block += 1
                    if block == len(BLOCKS):
                        raise ValueError("a record is longer than 128 MiB") from error
                elif options.utf8 and not as_bytes and "columns, got" in str(error):
                    as_bytes = True  # pyarrow shows a ragged record only as text, and this one is none
                else:
                    raise


def _behind(found: Records, passed: int, told: set[int]) -> Records:
    """The records that were not yielded yet."""
    if not len(found.rows) or int(found.rows[0]) > passed:
        if told.isdisjoint(bad.row for bad in found.bad):
            return found
    keep = found.rows > passed
    columns = [(name, values.filter(keep)) for name, values in found.columns]  # pyright: ignore[reportAttributeAccessIssue]
    bad = [bad for bad in found.bad if bad.row not in told]
    return replace(found, columns=columns, rows=found.rows[keep], bad=bad)


def _records(
    stream: IO[bytes], path: str, options: Csv, part: Range | None, block_bytes: int, as_bytes: bool
) -> Iterator[Records]:
    import pyarrow as pa

    text = None if part is not None else CsvText(stream, delimiter_of(path, options), options)
    how = _How(text, text.delimiter if text else delimiter_of(path, options), options, as_bytes)
    source = _Peeked(stream if text is None else text)  # pyright: ignore[reportArgumentType]
    if part is not None and part.names:
        header, blank_lines, skip = list(part.names), 0, 0
    else:
        header, blank_lines, more = read_header(source, how.delimiter, options, how.encoding)
        if text and header and options.header:
            one_column.refuse(header, source.seen, how.delimiter)
        if header is None or not more:
            yield Records(
                [(name, pa.chunked_array([], pa.string())) for name in header or ()], _none(), text=True
            )
            return
        skip = int(options.header)
        blank_lines = blank_lines if skip else 0
    first = part.first_row if part else 0
    rewound = source.rewound(without_bom=as_bytes)
    found = _parse(rewound, header, (blank_lines, skip), how, first, block_bytes)
    if part is not None or not options.quote or options.escape:
        yield from found
        return
    last: Records | None = None
    for each in found:
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield _closed(last, source.tail, how)


@dataclass(frozen=True)
class _How:
    """How the bytes are read. `text`: where they come from, unless they are a part of a file."""

    text: CsvText | None
    delimiter: str
    options: Csv
    as_bytes: bool

    @property
    def encoding(self) -> str:
        return "utf8" if self.text or self.options.utf8 else self.options.encoding


def _closed(last: Records, tail: bytes, how: _How) -> Records:
    """The last records of a file; the very last one is told where its last field opens a quote that nothing
    closes: the rest of the file is in it, or the file was cut."""
    value = last.columns[-1][1][-1].as_py() if len(last.rows) and last.columns else None  # pyright: ignore[reportAttributeAccessIssue]
    if value is None or any(bad.row > last.rows[-1] for bad in last.bad):
        return last
    quote = str(how.options.quote).encode()
    written = value.encode().replace(quote, 2 * quote)
    whole = len(written) <= _TAIL_BYTES // 2
    end = written if whole else written[-_TAIL_BYTES // 2 :]
    line = next((tail.removesuffix(e) for e in (b"\r\n", b"\n", b"\r") if tail.endswith(e)), tail)
    opened = quote + end if whole else end
    several_lines = "\n" in value or "\r" in value
    if line.endswith(opened + quote) or not tail.endswith(end if several_lines else quote + end):
        return last
    fields = [values[-1].as_py() or "" for _, values in last.columns[:-1]]  # pyright: ignore[reportAttributeAccessIssue]
    raw = how.delimiter.join([*fields, f"{how.options.quote}{value}"])
    bad = Bad(int(last.rows[-1]), "opens a quote that nothing closes", raw)
    return replace(
        last,
        columns=[(name, values[:-1]) for name, values in last.columns],
        rows=last.rows[:-1],
        bad=[*last.bad, bad],
    )


def _none() -> np.ndarray:
    import numpy as np

    return np.arange(0)


def _parse(
    source: IO[bytes], header: list[str], skip: tuple[int, int], how: _How, first: int, block_bytes: int
) -> Iterator[Records]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pc

    blank_lines, heading = skip
    options, as_bytes = how.options, how.as_bytes
    # Placeholders: the names come back below, duplicates and all.
    keys = [str(i) for i in range(len(header))]
    misfits: dict[int, Bad] = {}

    def keep(row: pc.InvalidRow) -> str:
        # Records are counted from 1, the header and skipped blank lines among them.
        index = first + row.number - 1 - heading - blank_lines
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        text = row.text.encode("latin-1").decode("utf-8", "backslashreplace") if as_bytes else row.text
        refused = how.text.put_aside(text) if how.text else None
        misfits[index] = Bad(index, reason, text) if refused is None else Bad(index, BEHIND, refused)
        return "skip"

    reader = pc.open_csv(
        source,
        pc.ReadOptions(
            use_threads=False,
            block_size=block_bytes,
            column_names=keys,
            skip_rows=blank_lines,
            skip_rows_after_names=heading,
            encoding="latin-1" if as_bytes else how.encoding,
        ),
        pc.ParseOptions(
            delimiter=how.delimiter,
            quote_char=options.quote or False,
            escape_char=options.escape or False,
            newlines_in_values=True,
            invalid_row_handler=keep,
        ),
        pc.ConvertOptions(
            # Bytes, so that one undecodable value costs its record and not the file.
            column_types={key: pa.binary() for key in keys},
            null_values=list(options.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    start, told = first, 0
    for batch in reader:
        if as_bytes:
            batch = pa.RecordBatch.from_arrays([_latin(c) for c in batch.columns], names=keys)
        rows = _skipping(start, batch.num_rows, misfits)
        if len(rows):
            start = int(rows[-1]) + 1
        columns, rows, bad = _decoded(batch, rows, how.delimiter)
        if heading or (first and options.header):
            columns, rows, again = _without_headers(columns, rows, header, how.delimiter)
            bad += again
        new = [misfits[i] for i in list(misfits)[told:]]
        told = len(misfits)
        yield Records(list(zip(_names(header), columns, strict=True)), rows, [*new, *bad], text=True)
    late = [misfits[i] for i in list(misfits)[told:]]
    if late:
        empty = pa.chunked_array([], pa.string())
        yield Records([(name, empty) for name in _names(header)], np.arange(0), late, text=True)


def _names(header: list[str]) -> list[str]:
    return [name.strip() or f"_c{i}" for i, name in enumerate(header)]


def _decoded(
    batch: pa.RecordBatch, rows: np.ndarray, delimiter: str
) -> tuple[list[pa.ChunkedArray], np.ndarray, list[Bad]]:
    """Columns of text; records with bytes that are no UTF-8 are taken out and told."""
    import numpy as np
    import pyarrow as pa

    try:
        return [pa.chunked_array([column.cast(pa.string())]) for column in batch.columns], rows, []
    except pa.ArrowInvalid:
        pass
    good = np.ones(batch.num_rows, dtype=bool)
    for column in batch.columns:
        try:
            column.cast(pa.string())
        except pa.ArrowInvalid:
            good &= np.array([value is None or _is_utf8(value) for value in column.to_pylist()])
    bad = []
    for index in np.flatnonzero(~good):
        fields = [
            (column[index].as_py() or b"").decode("utf-8", "backslashreplace") for column in batch.columns
        ]
        bad.append(
            Bad(int(rows[index]), "holds bytes that are not UTF-8; set `encoding`", delimiter.join(fields))
        )
    kept = batch.filter(pa.array(good))
    return [pa.chunked_array([c.cast(pa.string())]) for c in kept.columns], rows[good], bad


def _without_headers(
    columns: list[pa.ChunkedArray], rows: np.ndarray, header: list[str], delimiter: str
) -> tuple[list[pa.ChunkedArray], np.ndarray, list[Bad]]:
    """The records but those that repeat the header, as files that were joined do. One column alone may say its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(header) == 1:
        return columns, rows, []
    same: Any = None
    for column, name in zip(columns, header, strict=True):
        here = pc.call_function("equal", [column, pa.scalar(name or None, pa.string())])
        here = (
            pc.call_function("is_null", [column])
            if not name
            else pc.call_function("coalesce", [here, pa.scalar(False)])
        )
        same = here if same is None else pc.call_function("and", [same, here])
        if not pc.call_function("any", [same]).as_py():
            return columns, rows, []
    mask = same.to_numpy()
    bad = [Bad(int(row), "is the header again", delimiter.join(header)) for row in rows[mask]]
    keep = pa.array(~mask)
    return [column.filter(keep) for column in columns], rows[~mask], bad


def _latin(column: pa.Array) -> pa.Array:
    """The bytes that were read as Latin-1."""
    import pyarrow as pa

    values = [None if v is None else v.decode().encode("latin-1") for v in column.to_pylist()]
    return pa.array(values, pa.binary())


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _skipping(start: int, count: int, misfits: Iterable[int]) -> np.ndarray:
    """The next `count` positions from `start` on that no misfit holds."""
    import numpy as np

    late = np.array([i for i in misfits if i >= start], dtype="int64")
    if not len(late):
        return np.arange(start, start + count)
    candidates = np.arange(start, start + count + len(late))
    return candidates[~np.isin(candidates, late)][:count]


class _Peeked(io.RawIOBase):
    """A stream whose beginning was read to see the header, and that can then be read from the start. `tail` are the
    last bytes that were read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._seen = bytearray()  # while the header is looked at
        self._replay: int | None = None
        self.tail = b""

    def readable(self) -> bool:
        return True

    @property
    def seen(self) -> bytes:
        return bytes(self._seen)

    def rewound(self, without_bom: bool = False) -> Any:
        self._replay = len(_BOM) if without_bom and self._seen.startswith(_BOM) else 0
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
        self.tail = (self.tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return len(data)


def read_header(
    source: io.RawIOBase, delimiter: str, options: Csv, encoding: str
) -> tuple[list[str] | None, int, bool]:
    """The columns, how many blank lines stand before the first record, and whether there are data."""
    encoding = "utf-8-sig" if encoding == "utf8" else encoding
    text = io.TextIOWrapper(
        io.BufferedReader(source, 65536), encoding=encoding, errors="surrogateescape", newline=""
    )
    limit = csv.field_size_limit(MAX_RECORD)
    found = csv.reader(
        text,
        delimiter=delimiter,
        quotechar=options.quote,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
        escapechar=options.escape,
    )
    blank, header, more = 0, None, False
    for record in found:
        if header is not None:
            more = more or bool(record)
            if more:
                break
        elif record:
            header = record
            if not options.header:
                header, more = list(options.names), True
                break
        else:
            blank += 1
    csv.field_size_limit(limit)
    text.detach().detach()
    if header and options.header:
        header[0] = header[0].removeprefix("\ufeff")
        _refuse_unreadable(header, options)
    return header, blank, more


def _refuse_unreadable(header: list[str], options: Csv) -> None:
    if any("\x00" in name for name in header):
        raise ValueError("its header has NUL bytes; if it is UTF-16, set `encoding` under `format`")
    if any("\udc80" <= char <= "\udcff" for name in header for char in name):
        name = "UTF-8" if options.utf8 else options.encoding
        shown = ", ".join(header).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ValueError(
            f"its header holds bytes that are not {name}; set `encoding` under `format`: {shown}"
        )
