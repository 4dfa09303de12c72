"""What every reader yields: some records of one file, and those that could not be read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.source.types import clean_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Values = pa.ChunkedArray | list[Any]


MAX_RECORD = 128 << 20
"""The longest record of text, in bytes: what is longer is no record, and would fill the memory."""
MAX_HELD = 512 << 20
"""The most bytes of a file that must be held as a whole, once they are unpacked."""


def lines_of(stream: IO[bytes], block_bytes: int = 1 << 20, longest: int = MAX_RECORD) -> Iterator[bytes]:
    """Lines with their ends. Raises ValueError where one is too long."""
    return chain.from_iterable(_blocks(stream, block_bytes, longest))


def _blocks(stream: IO[bytes], block_bytes: int, longest: int) -> Iterator[list[bytes]]:
    """The lines that end in each block: a Python frame for every line would cost as much as reading it."""
    begun, size = list[bytes](), 0
    while block := stream.read(block_bytes):
        end = block.rfind(b"\n") + 1
        if size + (block.find(b"\n") + 1 or len(block)) > longest:
            raise ValueError("a record is longer than 128 MiB")
        if not end:
            begun.append(block)
            size += len(block)
            continue
        yield io.BytesIO(b"".join([*begun, block[:end]])).readlines()
        begun, size = [block[end:]], len(block) - end
    if size:
        yield [b"".join(begun)]


def held(stream: IO[bytes]) -> bytes:
    """All bytes of a file that cannot be read in parts. Raises ValueError where there are too many."""
    content = stream.read(MAX_HELD + 1)
    if len(content) > MAX_HELD:
        raise ValueError("it must be read as a whole, and is longer than 512 MiB")
    return content


@dataclass(frozen=True)
class Bad:
    """A record that could not be read: its position in the file, why, and its text as far as there is one."""

    row: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Range:
    """A part of a file that begins and ends with a record: bytes `start` to `end`, records from `first_row` on.

    For formats with row groups `start` and `end` count those. `names` are the columns where the part lacks
    the header.
    """

    start: int
    end: int
    first_row: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """Columns under the file's own names, duplicates and all, and each record's position in the file.

    A column is an Arrow array, or a list of plain values as JSON has them. `text` says that Arrow strings are text
    whose type is not told by the file. `aside` has, by index, values that came under a name that is taken within an
    object. `member` is the file of an archive.
    """

    columns: list[tuple[str, Values]]
    rows: np.ndarray
    bad: list[Bad] = field(default_factory=list[Bad])
    text: bool = False
    aside: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    member: str = ""


def gathered(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Columns of records that name their own. Names that a table takes for one are one column, filled from whichever a
    record has; what it has under a second spelling is in a column of that spelling, behind."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(clean_name(name).lower(), []).append(name)
    if len(spellings) == len(names):
        return [(name, [row.get(name) for row in rows]) for name in names]
    columns, behind = list[tuple[str, list[Any]]](), list[tuple[str, list[Any]]]()
    for first, *others in spellings.values():
        values = [row.get(first) for row in rows]
        for name in others:
            second: list[Any] = [None] * len(rows)
            for index, row in enumerate(rows):
                if values[index] is None:
                    values[index] = row.get(name)
                else:
                    second[index] = row.get(name)
            if any(value is not None for value in second):
                behind.append((name, second))
        columns.append((first, values))
    return columns + behind
