"""Lines of CSV, as databases write them, become Arrow tables: block by block, every digit as it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.sql.fields import Field

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Blocks:
    """Gathers lines until they are `size` bytes, and hands each block's table on."""

    fields: Sequence[Field]
    size: int
    tell: Callable[[pa.Table], None]
    source: str
    _lines: list[bytes] = field(default_factory=list[bytes])
    _bytes: int = 0

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= self.size:
            self.flush()

    def flush(self) -> None:
        """Hand on what is there."""
        if self._lines:
            block = b"".join(self._lines)
            self._lines.clear()
            self._bytes = 0
            self.tell(table_of(block, self.fields, self.source))


def table_of(block: bytes, fields: Sequence[Field], source: str) -> pa.Table:
    """The rows of a block, with `_rescued_data`. Raises SourceError for text that is none of the column's type."""
    import pyarrow as pa

    try:
        try:
            found = _parsed(block, fields, pa.string(), pa.null())
        except (
            pa.ArrowInvalid
        ):  # text that is no UTF-8, or a value that does not fit: then all is read as bytes
            found = _parsed(block, fields, pa.binary(), pa.binary())
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{source}: the database sent a value that its column's type does not have: {error}. Leave the column out "
            "(`exclude`), or cast it to text in a `query`",
            source=source,
        ) from error
    misfits = {one.name: found[f"m{number}"] for number, one in enumerate(fields) if one.misfit is not None}
    values: list[Any] = []
    for number, one in enumerate(fields):
        column = found[f"v{number}"]
        if one.hexadecimal:
            column = pa.array([v if v is None else _unhex(v) for v in column.to_pylist()], pa.binary())
        elif pa.types.is_string(one.type) and pa.types.is_binary(column.type):
            column, broken = _as_text(column)
            if broken is not None:
                misfits[one.name] = broken
        values.append(column)
    names = [one.name for one in fields]
    return pa.table([*values, _rescued(misfits, found.num_rows)], names=[*names, "_rescued_data"])


def _parsed(block: bytes, fields: Sequence[Field], text: pa.DataType, misfits: pa.DataType) -> pa.Table:
    """The values (`v0`, `v1`, …), and behind each what does not fit it (`m0`, …), where there can be such.

    As nulls, misfits cost nothing to read; there must be none then. Text as strings must be UTF-8.
    """
    import pyarrow as pa
    from pyarrow import csv

    columns: dict[str, pa.DataType] = {}
    for number, one in enumerate(fields):
        columns[f"v{number}"] = (
            pa.string() if one.hexadecimal else text if pa.types.is_string(one.type) else one.type
        )
        if one.misfit is not None:
            columns[f"m{number}"] = misfits
    convert = csv.ConvertOptions(
        column_types=columns,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t", "1"],
        false_values=["f", "0"],
        timestamp_parsers=[csv.ISO8601],
    )
    # Lines within values are fine: the block is parsed as one, and ends with its last line.
    read = csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(columns))
    return csv.read_csv(pa.BufferReader(block), read, csv.ParseOptions(ignore_empty_lines=False), convert)


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


def _as_text(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Any]:
    """The bytes as text; what is no UTF-8 becomes null, and is given back as hex beside it."""
    import pyarrow as pa

    try:
        return column.cast(pa.string()), None
    except pa.ArrowInvalid:
        pass
    good: list[str | None] = []
    bad: list[bytes | None] = []
    for value in column.to_pylist():
        raw = value or b""
        try:
            good.append(None if value is None else raw.decode())
            bad.append(None)
        except UnicodeDecodeError:
            good.append(None)
            bad.append(b"\\x" + raw.hex().encode())
    return pa.chunked_array([pa.array(good, pa.string())]), pa.chunked_array([pa.array(bad, pa.binary())])


def _rescued(misfits: dict[str, Any], rows: int) -> Any:
    """JSON of what did not fit, by row; null where everything did."""
    import pyarrow as pa

    kept = {name: column for name, column in misfits.items() if column.null_count < rows}
    if not kept:
        return pa.nulls(rows, pa.string())
    lists = {name: column.to_pylist() for name, column in kept.items()}

    def told(row: int) -> str | None:
        found = {
            name: column[row].decode(errors="backslashreplace")
            for name, column in lists.items()
            if column[row] is not None
        }
        return json.dumps(found, ensure_ascii=False) if found else None

    return pa.array([told(row) for row in range(rows)], pa.string())
