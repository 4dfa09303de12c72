"""JSON as lines or as one document: records as plain values, with numbers as they were written if asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from asgard_assets.ingest.files.readers.records import Bad, Range, Records
from asgard_assets.ingest.files.source.formats import Json, extension
from asgard_assets.ingest.files.source.types import Number

_BATCH_ROWS = 20_000
_BATCH_BYTES = 32 << 20


class Repeated(dict[str, Any]):
    """An object in which a name came more than once: the last value has it, as every parser says; `earlier` tells
    under which keys (`name#1` …) the others are, and their name."""

    __slots__ = ("earlier",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.earlier: dict[str, str] = {}
        left = dict.fromkeys(self, 0)
        for name, _ in pairs:
            left[name] += 1
        for name, value in pairs:
            left[name] -= 1
            if left[name]:
                number = 1
                while (key := f"{name}#{number}") in self:
                    number += 1
                self[key] = value
                self.earlier[key] = name


def _float(text: str) -> float | Number:
    """A double, or the number as it was written where a double would be infinite, 0 or some digits short of it."""
    value = float(text)
    if value - value != 0 or (len(text) > 17 and _digits(text) > 17):
        return Number(text)
    return value if value or not _digits(text) else Number(text)


def _digits(text: str) -> int:
    """Digits that count: those of the mantissa from the first that is not 0 on."""
    return len(text.lower().partition("e")[0].replace(".", "").lstrip("-0"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(pairs)


_AS_WRITTEN: Any = {"parse_int": Number, "parse_float": Number, "parse_constant": Number}
EXACT = json.JSONDecoder(**_AS_WRITTEN, object_pairs_hook=_object)
_PLAIN = json.JSONDecoder(parse_float=_float, object_pairs_hook=_object)
# A third faster; they keep the last value of a name and tell nothing of the others.
_FAST = {EXACT: json.JSONDecoder(**_AS_WRITTEN), _PLAIN: json.JSONDecoder(parse_float=_float)}


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
    yield from _batches(enumerate(_lines(stream, options), first), decoder, options)


def _lines(stream: IO[bytes], options: Json) -> Iterator[bytes]:
    """Lines in UTF-8, or in what should have been it."""
    if options.utf8:
        yield from io.BufferedReader(stream, 1 << 20)  # pyright: ignore[reportArgumentType]
    else:
        for line in io.TextIOWrapper(stream, options.encoding, newline="\n"):
            yield line.encode()


def _document(content: bytes, options: Json, decoder: json.JSONDecoder) -> Iterable[tuple[int, Any]]:
    """The elements of an array, one object, or where it is no document, and none is demanded, its lines."""
    try:
        text = content.decode("utf-8-sig" if options.utf8 else options.encoding)
        found = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        if options.layout == "document" or options.records or _is_cut(content, options, decoder):
            raise ValueError(f"is no JSON document: {error}") from error
        return enumerate(_lines(io.BytesIO(content), options))
    for name in filter(None, options.records.split(".")):
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"has no {options.records!r}: {name!r} is missing")
        found = found[name]
    return enumerate(found if isinstance(found, list) else [found])


def _is_cut(content: bytes, options: Json, decoder: json.JSONDecoder) -> bool:
    """Whether what is no document is none of lines either: its first line leaves something open."""
    text = content.decode("utf-8-sig" if options.utf8 else options.encoding, "replace").lstrip()
    line = text.partition("\n")[0].rstrip()
    try:
        decoder.decode(line)
    except json.JSONDecodeError as error:
        return line.startswith("[") or (bool(line) and error.pos >= len(line))
    except (ValueError, RecursionError):
        pass
    return line.startswith("[")


def _batches(lines: Iterable[tuple[int, Any]], decoder: json.JSONDecoder, options: Json) -> Iterator[Records]:
    good, rows, bad, size = list[dict[str, Any]](), list[int](), list[Bad](), 0
    decode, fast, seen = decoder.decode, _FAST[decoder].decode, False
    flat = True
    for index, line in lines:
        if isinstance(line, bytes):
            size += len(line)
            try:
                text = line.decode("utf-8-sig" if index == 0 else "utf-8").strip()
                if not text:
                    continue
                value = fast(text) if flat else decode(text)
                if isinstance(value, dict) and flat != _is_flat(text, value):
                    flat = not flat
                    value = value if flat else decode(text)
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


def _is_flat(text: str, record: dict[str, Any]) -> bool:
    """Whether no object is in the record and no name in it twice: there are no more colons behind quotes than names."""
    return text.count('":') == len(record) and not any(sign in text for sign in (" :", "\t:", "\r:"))


def _batch(good: list[dict[str, Any]], rows: list[int], bad: list[Bad]) -> Records:
    import numpy as np

    earlier: dict[str, tuple[str, list[Any]]] = {}
    for index, record in enumerate(good):
        if type(record) is Repeated:
            for key, name in record.earlier.items():
                earlier.setdefault(key, (name, [None] * len(good)))[1][index] = record.pop(key)
    names = list(dict.fromkeys(name for record in good for name in record))
    columns = [(name, [r.get(name) for r in good]) for name in names]
    return Records([*columns, *earlier.values()], np.array(rows, "int64"), bad)


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
    return dump(value) if isinstance(value, (dict, list, tuple, bool, int, float, type(None))) else str(value)


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
