"""Bodies of any size, read from a file piece by piece: JSON lists, NDJSON and CSV, packed as gzip or zip or not."""

from __future__ import annotations

import fnmatch
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import IO, Any

from asgard_assets.ingest.api.http.charsets import charset_of
from asgard_assets.ingest.api.http.decoding import Oversized, Undecodable, csv_records, format_of, read_json
from asgard_assets.ingest.api.source.decoders import Decode

_CHUNK = 1 << 20
_HEAD = 4096
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\],:]', re.DOTALL)


def items_of(file: IO[bytes], headers: Mapping[str, str], how: Decode, path: str, most: int) -> Iterator[Any]:
    """The records in a file, or the elements of the list at `path` of its JSON value, one after the other.

    Raises Undecodable where the file is not what it should be, Oversized where one record has more than `most` bytes.
    """
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    try:
        if head[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as inside:
                yield from _records(inside, {}, how, path, most, "")
        elif head[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and (
                        how.member is None or fnmatch.fnmatch(info.filename, how.member)
                    ):
                        with archive.open(info) as inside:
                            yield from _records(inside, {}, how, path, most, info.filename)
        else:
            yield from _records(file, headers, how, path, most, "")
    except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise Undecodable(f"the body cannot be unpacked: {error}") from error


def _records(
    file: Any, headers: Mapping[str, str], how: Decode, path: str, most: int, name: str
) -> Iterator[Any]:
    stream = io.BufferedReader(file, _CHUNK)
    head = stream.peek(_HEAD)[:_HEAD]
    charset = how.charset or charset_of(headers, head)
    kind = how.format
    if kind == "auto":
        kind = format_of(headers.get("content-type", ""), name, head.decode(charset, "replace"))
    if kind == "xml":
        raise Undecodable("XML is not read piece by piece; leave out form.decode.stream")
    try:
        if kind == "csv":
            marked = "utf-8-sig" if charset == "utf-8" else charset  # a byte order mark is no text
            text = io.TextIOWrapper(stream, marked, newline="")
            first = text.readline()
            delimiter = how.delimiter or max(",;\t|", key=first.count)
            yield from csv_records(chain([first], text), delimiter, how.header)
            text.detach()
        elif kind == "ndjson":
            yield from (_value(line, charset) for line in _lines(stream, most) if line.strip(b"\x1e \t\r\n"))
        else:
            yield from (_value(item, charset) for item in json_items(stream, path, most))
    except UnicodeDecodeError as error:
        raise Undecodable(f"the body is not in the charset {charset}: {error}") from error
    finally:
        if not stream.closed:
            stream.detach()


def _value(text: bytes, charset: str) -> Any:
    text = text.strip(b"\x1e \t\r\n")
    return read_json(text if charset in ("utf-8", "utf-8-sig") else text.decode(charset))


def _lines(stream: io.BufferedReader, most: int) -> Iterator[bytes]:
    while line := stream.readline(most + 1):
        if len(line) > most:
            raise Oversized(f"one record has more than {most} bytes (sink.max_body_bytes)")
        yield line


def json_items(stream: IO[bytes], path: str, most: int) -> Iterator[bytes]:
    """The texts of the elements of the list at a dotted `path` of a JSON value; what stands around it is skipped.

    Raises Undecodable where there is no such list, or the value ends before it does.
    """
    walker = _Walker(path.split(".") if path else [], most)
    while chunk := stream.read(_CHUNK):
        yield from walker.feed(chunk)
        if walker.ended:
            break
    if not walker.ended:
        what = "is cut short" if walker.inside else f"has no list at `{path or 'the body'}`"
        raise Undecodable(f"the JSON of the body {what}")


class _Walker:
    """Finds the list's elements in pieces of JSON text; holds no more than one element and a piece."""

    def __init__(self, path: list[str], most: int):
        self._path, self._most = path, most
        self._text, self._at, self._item = b"", 0, 0
        self._keys: list[str | None] = []  # of the objects (None: lists) around, down to here
        self._key: str | None = None  # the string before
        self._depth = 0  # inside an element
        self.inside = self.ended = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        start = self._item if self.inside else self._at
        self._text = self._text[start:] + chunk
        self._at, self._item = self._at - start, 0
        if len(self._text) > self._most + 2 * _CHUNK:
            raise Oversized(f"one record has more than {self._most} bytes (sink.max_body_bytes)")
        for token in _TOKEN.finditer(self._text, self._at):
            text = token.group()
            if text == b'"':  # a string that goes on in the next piece
                break
            self._at = token.end()
            if self.inside:
                yield from self._element(text, token.start())
                if self.ended:
                    return
            else:
                self._around(text)

    def _element(self, text: bytes, start: int) -> Iterator[bytes]:
        first = text[:1]
        if first in b"{[":
            self._depth += 1
        elif self._depth and first in b"}]":
            self._depth -= 1
        elif not self._depth and first in b",]":
            element = self._text[self._item : start].strip()
            self._item, self.ended = self._at, first == b"]"
            if element:
                yield element

    def _around(self, text: bytes) -> None:
        first = text[:1]
        if first == b'"':
            self._key = text[1:-1].decode("utf-8", "replace")
        elif first == b":":
            self._keys[-1] = self._key
        elif first == b"[" and self._keys == self._path:
            self.inside, self._item = True, self._at
        elif first in b"{[":
            self._keys.append(None)
        elif first in b"}]" and self._keys:
            self._keys.pop()
