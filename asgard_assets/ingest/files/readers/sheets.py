"""Sheets of workbooks, with the types of their cells."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from asgard_assets.ingest.files.readers.records import Bad, Records
from asgard_assets.ingest.files.source.formats import Excel

_BATCH_ROWS = 10_000
MAX_BYTES = 1 << 30
"""A workbook is held in memory, unpacked."""


def sheet(stream: IO[bytes], options: Excel) -> Iterator[Records]:
    """Rows behind the header, blank ones passed over. A row with more cells than the header is told."""
    import numpy as np

    rows = _rows(stream, options)
    header = [_name(value) for value in next(rows, [])]
    while header and not header[-1]:
        header.pop()
    names = [name or f"_c{index}" for index, name in enumerate(header)]
    found = ((number, row) for number, row in enumerate(rows) if any(cell is not None for cell in row))
    seen = False
    while some := list(islice(found, _BATCH_ROWS)):
        seen = True
        good = [(number, row) for number, row in some if not any(c is not None for c in row[len(names) :])]
        bad = [
            Bad(number, f"a cell beside the {len(names)} columns of the header", ",".join(map(_shown, row)))
            for number, row in some
            if any(c is not None for c in row[len(names) :])
        ]
        columns = [(name, [row[i] for _, row in good]) for i, name in enumerate(names)]
        yield Records([*columns], np.array([number for number, _ in good], "int64"), bad)
    if not seen:
        yield Records([(name, []) for name in names], np.arange(0))


def _rows(stream: IO[bytes], options: Excel) -> Iterator[list[Any]]:
    left, top, right, bottom = _corners(options.range)
    top += options.header_row - 1
    for index, row in _of_sheet(stream, options):
        if index < top:
            continue
        if bottom is not None and index > bottom:
            return
        cells = [_value(cell) for cell in (row if right is None else row[left : right + 1])]
        yield cells + [None] * (len(row) - len(cells) if right is None else right + 1 - left - len(cells))


def _of_sheet(stream: IO[bytes], options: Excel) -> Iterator[tuple[int, list[Any]]]:
    import python_calamine as calamine

    content = stream.read(MAX_BYTES + 1)
    _refuse_too_big(content)
    try:
        book = calamine.load_workbook(io.BytesIO(content))
        if options.sheet is not None and options.sheet not in book.sheet_names:
            raise ValueError(
                f"has no sheet {options.sheet!r}; it has {', '.join(map(repr, book.sheet_names))}"
            )
        found = book.get_sheet_by_name(options.sheet) if options.sheet else book.get_sheet_by_index(0)
        rows = found.to_python(skip_empty_area=False)
    except calamine.PasswordError as error:
        raise ValueError("is encrypted with a password") from error
    except calamine.CalamineError as error:
        raise ValueError(f"is no workbook that can be read: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"is no workbook that can be read: {error}") from error
    yield from enumerate(rows)


def _refuse_too_big(content: bytes) -> None:
    size = len(content)
    if content.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as parts:
                size = sum(part.file_size for part in parts.infolist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"is no workbook that can be read: {error}") from error
    if size > MAX_BYTES:
        raise ValueError("unpacked it is longer than 1 GiB")


def _corners(told: str | None) -> tuple[int, int, int | None, int | None]:
    if told is None:
        return 0, 0, None, None
    left, top, right, bottom = re.fullmatch(
        r"([A-Z]+)([0-9]+):([A-Z]+)([0-9]*)", told.upper().replace("$", "")
    ).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return _column(left), int(top) - 1, _column(right), int(bottom) - 1 if bottom else None


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _name(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _value(cell: Any) -> Any:
    """Whole numbers, for a sheet knows doubles alone; days without a time; durations as text."""
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, (datetime.time, datetime.timedelta)):
        return str(cell)
    return cell


def _shown(cell: Any) -> str:
    return "" if cell is None else str(cell)
