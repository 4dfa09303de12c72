"""Text by lines or whole, and any file as its bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

from asgard_assets.ingest.files.readers.records import Bad, Range, Records, lines_of
from asgard_assets.ingest.files.source.formats import Text

_BATCH_LINES = 50_000
MAX_BYTES = 1 << 30
"""The longest record."""


def text(stream: IO[bytes], options: Text, part: Range | None) -> Iterator[Records]:
    """Lines in the column `value`, empty ones too; one that the encoding does not know is told."""
    import numpy as np

    encoding = "utf-8-sig" if options.utf8 else options.encoding
    if options.whole:
        yield Records([("value", [_whole(stream).decode(encoding)])], np.arange(1))
        return
    first = part.first_row if part else 0
    lines: Iterator[bytes | str] = (
        lines_of(stream) if options.ascii_superset else iter(io.TextIOWrapper(stream, encoding, newline="\n"))
    )
    values, rows, bad = list[str](), list[int](), list[Bad]()
    for row, line in enumerate(lines, first):
        try:
            decoded = (
                line if isinstance(line, str) else line.decode(encoding if row == 0 else options.encoding)
            )
            values.append(decoded.removesuffix("\n").removesuffix("\r"))
            rows.append(row)
        except UnicodeDecodeError as error:
            bad.append(Bad(row, str(error), line.decode("utf-8", "backslashreplace").rstrip("\r\n")))  # pyright: ignore[reportAttributeAccessIssue]
        if len(values) + len(bad) >= _BATCH_LINES:
            yield Records([("value", values)], np.array(rows, "int64"), bad)
            values, rows, bad = [], [], []
    yield Records([("value", values)], np.array(rows, "int64"), bad)


def binary(stream: IO[bytes]) -> Iterator[Records]:
    """One record: the bytes in the column `content`."""
    import numpy as np

    yield Records([("content", [_whole(stream)])], np.arange(1))


def _whole(stream: IO[bytes]) -> bytes:
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError("as one record it is longer than 1 GiB")
    return content
