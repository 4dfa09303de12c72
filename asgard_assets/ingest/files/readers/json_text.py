"""JSON as lines or as one document: records as plain values, with numbers as they were written if asked."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, Any, ClassVar

from asgard_assets.ingest.files.readers.records import Bad, Range, Records, gathered, held, lines_of
from asgard_assets.ingest.files.source.formats import Json, extension
from asgard_assets.ingest.files.source.types import Number, is_exact

_BATCH_ROWS = 20_000
_BATCH_BYTES = 32 << 20


class Repeated(dict[str, Any]):
    """An object in which a name came more than once: the last value has it, as every parser says; `pairs` are all."""

    __slots__ = ("pairs",)
    made: ClassVar[int] = (
        0  # in this process, by any thread: a batch before and after which it is the same has none
    )

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        Repeated.made += 1
        super().__init__(pairs)
        self.pairs = pairs

    @property
    def earlier(self) -> list[tuple[str, Any]]:
        """What came under a name before its last value."""
        left = dict.fromkeys(self, 0)
        for name, _ in self.pairs:
            left[name] += 1
        found = list[tuple[str, Any]]()
        for name, value in self.pairs:
            left[name] -= 1
            if left[name]:
                found.append((name, value))
        return found


def _float(text: str) -> float | Number:
    """A double, or the number as it was written where a double would be infinite, 0 or some digits short of it."""
    value = float(text)
    if value - value != 0 or (len(text) > 16 and repr(value) != text and not is_exact(text)):
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
_SIGNED = json.JSONDecoder(
    parse_int=lambda text: -0.0 if text == "-0" else int(text), parse_float=_float, object_pairs_hook=_object
)
"""Of -0 the others make 0. It is rare, and a call for each whole number is not cheap."""
_MINUS_ZERO = re.compile(r"(?:^|[:\[,\s])-0(?:$|[,\]}\s])")
# A third faster; they keep the last value of a name and tell nothing of the others.
_FAST = {EXACT: json.JSONDecoder(**_AS_WRITTEN), _PLAIN: json.JSONDecoder(parse_float=_float)}


def records(
    stream: IO[bytes], path: str, options: Json, exact: bool, part: Range | None
) -> Iterator[Records]:
    """Yield the records in order. Blank lines are none, yet they count in the positions of lines."""
    decoder = EXACT if exact else _PLAIN
    document = options.layout == "document" or (options.layout == "auto" and extension(path) == ".json")
    if document or options.records:
        yield from _batches(_document(held(stream), options, decoder), decoder, options)
        return
    first = part.first_row if part else 0
    yield from _batches(enumerate(_lines(stream, options), first), decoder, options)


def _lines(stream: IO[bytes], options: Json) -> Iterator[bytes]:
    """Lines in UTF-8, or in what should have been it."""
    if options.utf8:
        return lines_of(stream)
    return (line.encode() for line in io.TextIOWrapper(stream, options.encoding, newline="\n"))


def _document(content: bytes, options: Json, decoder: json.JSONDecoder) -> Iterable[tuple[int, Any]]:
    """The elements of an array, one object, or where it is no document, and none is demanded, its lines."""
    try:
        text = content.decode("utf-8-sig" if options.utf8 else options.encoding)
        found = _decoder_of(text, decoder).decode(text)
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
    good, rows, bad, size, made = list[dict[str, Any]](), list[int](), list[Bad](), 0, Repeated.made
    exact, fast, seen = decoder, _FAST[decoder], False
    flat = True
    for index, line in lines:
        if isinstance(line, bytes):
            size += len(line)
            try:
                text = line.decode("utf-8-sig" if index == 0 else "utf-8").strip()
                if not text:
                    continue
                if "-0" in text and decoder is _PLAIN and _MINUS_ZERO.search(text):
                    value = _decoded(_SIGNED, text)
                else:
                    value = _decoded(fast if flat else exact, text)
                if isinstance(value, dict) and flat != _is_flat(text, value):
                    flat = not flat
                    value = value if flat else _decoded(exact, text)
            except RecursionError:
                bad.append(Bad(index, "is nested too deeply", raw_text(line)))
                continue
            except ValueError as error:
                bad.append(Bad(index, str(error), raw_text(line)))
                continue
        else:
            value, made = line, -1  # of a document that was read before
        if isinstance(value, dict):
            good.append(value)
            rows.append(index)
        else:
            bad.append(Bad(index, "is not a JSON object", raw_text(line)))
        if len(good) + len(bad) >= _BATCH_ROWS or size > _BATCH_BYTES:
            yield _batch(good, rows, bad, decoder is EXACT, Repeated.made > made)
            good, rows, bad, size, seen, made = [], [], [], 0, True, Repeated.made
    if good or bad or not seen:
        yield _batch(good, rows, bad, decoder is EXACT, Repeated.made > made)


def _decoded(decoder: Any, text: str) -> Any:
    """What `decode` gives for text without space around it, without its two looks for space."""
    try:
        value, end = decoder.scan_once(text, 0)
    except StopIteration:
        return decoder.decode(text)  # says what is wrong
    return value if end == len(text) else decoder.decode(text)


def _decoder_of(text: str, decoder: json.JSONDecoder) -> json.JSONDecoder:
    return _SIGNED if decoder is _PLAIN and _MINUS_ZERO.search(text) else decoder


def _is_flat(text: str, record: dict[str, Any]) -> bool:
    """Whether no object is in the record and no name in it twice: there are no more colons behind quotes than names."""
    return text.count('":') == len(record) and not any(sign in text for sign in (" :", "\t:", "\r:"))


def _batch(
    good: list[dict[str, Any]], rows: list[int], bad: list[Bad], exact: bool, repeated: bool
) -> Records:
    """`exact`: values that are no scalars become their text, in which nothing is lost. `repeated`: some object may
    hold a name twice."""
    import numpy as np

    earlier, aside = dict[tuple[str, int], list[Any]](), dict[int, dict[str, Any]]()
    for index, record in enumerate(good):
        if type(record) is Repeated:
            seen: dict[str, int] = {}
            for name, value in record.earlier:
                seen[name] = seen.get(name, 0) + 1
                earlier.setdefault((name, seen[name]), [None] * len(good))[index] = value
        if repeated and not exact and (inside := _inside(record)):
            aside[index] = inside
    columns = [*gathered(good), *((name, values) for (name, _), values in earlier.items())]
    return Records([*columns], np.array(rows, "int64"), bad, aside=aside)


def _inside(record: dict[str, Any]) -> dict[str, Any]:
    """Values of objects within the record that came under a name that comes again, by their path."""
    found: dict[str, Any] = {}

    def look(value: Any, path: str) -> None:
        if type(value) is Repeated and path:
            for name, inner in value.earlier:
                key, number = f"{path}.{name}", 1
                while key in found:
                    number += 1
                    key = f"{path}.{name}#{number}"
                found[key] = inner
        if isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, (dict, list)):
                    look(inner, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for inner in value:
                if isinstance(inner, (dict, list)):
                    look(inner, path)

    with suppress(RecursionError):
        look(record, "")
    return found


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
        pairs = value.pairs if type(value) is Repeated else value.items()
        inside = ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{dump(v)}" for k, v in pairs)
        return "{" + inside + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dump, value)) + "]"
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    return json.dumps(value, ensure_ascii=False, default=str)
