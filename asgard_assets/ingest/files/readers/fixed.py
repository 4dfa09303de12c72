"""Text in columns of fixed width."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers.records import Bad, Records
from asgard_assets.ingest.files.source.formats import Fixed

if TYPE_CHECKING:
    pass

_BATCH_LINES = 50_000


def records(stream: IO[bytes], options: Fixed) -> Iterator[Records]:
    """A record a line, without the spaces around values; an empty value is null. A line that is longer than its
    columns, or no text, is told."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    total, start = sum(options.widths.values()), 0
    for lines in _batches(stream, options):
        good, rows, bad = list[str](), list[int](), list[Bad]()
        for line in lines:
            if any("\udc80" <= char <= "\udcff" for char in line):
                bad.append(
                    Bad(start, f"holds bytes that are not {options.encoding}; set `encoding`", _shown(line))
                )
            elif len(line.rstrip()) > total:
                bad.append(Bad(start, f"is longer than its columns, {total} characters", line))
            elif line.strip():
                good.append(line)
                rows.append(start)
            else:
                continue
            start += 1
        text = pa.array(good, pa.string())
        columns, at = list[tuple[str, pa.ChunkedArray]](), 0
        for name, width in options.widths.items():
            part: Any = pc.call_function("utf8_slice_codeunits", [text], pc.SliceOptions(at, at + width))
            part = pc.call_function("utf8_trim_whitespace", [part])
            empty = pc.call_function("equal", [part, pa.scalar("")])
            part = pc.call_function("if_else", [empty, pa.scalar(None, pa.string()), part])
            columns.append((name, pa.chunked_array([part])))
            at += width
        yield Records([*columns], np.array(rows, "int64"), bad, text=True)


def _batches(stream: IO[bytes], options: Fixed) -> Iterator[list[str]]:
    raw: Any = stream
    encoding = "utf-8-sig" if options.utf8 else options.encoding
    text = io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), encoding, "surrogateescape")
    lines = (line.rstrip("\r\n") for line in islice(text, options.skip_lines, None))
    held = list[str]()
    while some := list(islice(lines, _BATCH_LINES)):
        some, held = held + some, []
        if options.skip_footer:
            while some and not some[-1].strip():
                some.pop()
            some, held = some[: -options.skip_footer], some[-options.skip_footer :]
        yield some
    yield []


def _shown(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
