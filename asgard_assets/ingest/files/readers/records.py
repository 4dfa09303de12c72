"""What every reader yields: some records of one file, and those that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Values = pa.ChunkedArray | list[Any]


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
    whose type is not told by the file.
    """

    columns: list[tuple[str, Values]]
    rows: np.ndarray
    bad: list[Bad] = field(default_factory=list[Bad])
    text: bool = False
