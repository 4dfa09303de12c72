"""JSON as lines or as one document: records as plain values, with numbers as they were written if asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from asgard_assets.ingest.files.formats import Json, extension
from asgard_assets.ingest.files.readers.records import Bad, Range, Records

_BATCH_ROWS = 20_000
_BATCH_BYTES = 32 << 20


class Number(str):
    """A JSON number as it was written: no digit is lost on the way."""

    __slots__ = ()


EXACT = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)
_PLAIN = json.JSONDecoder()


def records(
    stream: IO[bytes], path: str, options: Json, exact: bool, part: Range | None
) -> Iterator[Records]:
    """Yield the records in order. Blank lines are none, yet they count in the positions of lines."""
    decoder = EXACT if exact else _PLAIN
    document = options.layout == "document" or (options.layout == "auto" and extension(path) == ".json")
    if document or options.records:
        yield from _batches(_document(stream.read(), options, decoder), decoder, options)
        return
    first = part.first_row if part else 0
    lines: Iterable[bytes] = io.BufferedReader(stream, 1 << 20)  # pyright: ignore[reportArgumentType]
    if not options.utf8:
        lines = (line.encode() for line in io.TextIOWrapper(stream, options.encoding, newline="\n"))
    yield from _batches(enumerate(lines, first), decoder, options)


def _document(content: bytes, options: Json, decoder: json.JSONDecoder) -> Iterable[tuple[int, Any]]:
    """The elements of an array, one object, or where it is no document, and none is demanded, its lines."""
    try:
        text = content.decode("utf-8-sig" if options.utf8 else options.encoding)
        found = decoder.decode(text)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        if options.layout == "document" or options.records:
            raise ValueError(f"is no JSON document: {error}") from error
        if not options.utf8:
            content = content.decode(options.encoding).encode()
        return enumerate(content.splitlines(keepends=True))
    for name in filter(None, options.records.split(".")):
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"has no {options.records!r}: {name!r} is missing")
        found = found[name]
    return enumerate(found if isinstance(found, list) else [found])


def _batches(lines: Iterable[tuple[int, Any]], decoder: json.JSONDecoder, options: Json) -> Iterator[Records]:
    good, rows, bad, size = list[dict[str, Any]](), list[int](), list[Bad](), 0
    decode, seen = decoder.decode, False
    for index, line in lines:
        if isinstance(line, bytes):
            size += len(line)
            try:
                text = line.decode("utf-8-sig" if index == 0 else "utf-8").strip()
                if not text:
                    continue
                value = decode(text)
            except RecursionError:
                bad.append(Bad(index, "is nested too deeply", raw_text(line)))
                continue
            except ValueError as error:
                bad.append(Bad(index, str(error), raw_text(line)))
                continue
        else:
            value = line
        if isinstance(value, dict):
            good.append(value)
            rows.append(index)
        else:
            bad.append(Bad(index, "is not a JSON object", raw_text(line)))
        if len(good) + len(bad) >= _BATCH_ROWS or size > _BATCH_BYTES:
            yield _batch(good, rows, bad)
            good, rows, bad, size, seen = [], [], [], 0, True
    if good or bad or not seen:
        yield _batch(good, rows, bad)


def _batch(good: list[dict[str, Any]], rows: list[int], bad: list[Bad]) -> Records:
    import numpy as np

    names = list(dict.fromkeys(name for record in good for name in record))
    return Records([(name, [r.get(name) for r in good]) for name in names], np.array(rows, "int64"), bad)


def raw_text(line: Any) -> str:
    """The record as it was written, as far as text can say it."""
    if isinstance(line, bytes):
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    try:
        return as_text(line).encode("utf-8", "backslashreplace").decode()
    except RecursionError:
        return "(nested too deeply to be written down)"


def as_text(value: Any) -> str:
    """A value as text: strings as they are, numbers as they were written, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return dump(value) if isinstance(value, (dict, list, tuple, bool, int, float)) else str(value)


def dump(value: Any) -> str:
    """JSON text, with numbers as they were written; what JSON does not have is written as text."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        inside = ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{dump(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dump, value)) + "]"
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    return json.dumps(value, ensure_ascii=False, default=str)
