"""Bodies of any size, read from a file piece by piece: JSON lists, NDJSON, CSV and XML, packed as gzip, zip or tar or not."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import IO, Any

from asgard_assets.ingest.api.http.charsets import charset_of
from asgard_assets.ingest.api.http.decoding import BROKEN, csv_records, format_of, read_json, wanted
from asgard_assets.ingest.api.http.messages import Oversized, Undecodable
from asgard_assets.ingest.api.http.xml import xml_items
from asgard_assets.ingest.api.source.decoders import Decode

_CHUNK = 1 << 20
_HEAD = 4096
_DEPTH = 3
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\],:]', re.DOTALL)


def items_of(
    file: IO[bytes], headers: Mapping[str, str], how: Decode, path: str, most: int, absent: bool = False
) -> Iterator[Any]:
    """The records in a file, or the elements of the list at `path` of its value, one after the other.

    `absent`: a file without that list is an empty one. Raises Undecodable where the file is not what it should be,
    Oversized where one record has more than `most` bytes.
    """
    file.seek(0)
    found = False
    try:
        for name, inside in _files(file, how.member, "", 0):
            found = True
            told = {} if name or inside is not file else headers
            yield from _records(inside, told, how, path, most, name, absent)
    except (*BROKEN, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise Undecodable(f"the body cannot be unpacked: {error}") from error
    if not found:
        raise Undecodable(f"the archive has no file{f' named {how.member}' if how.member else ''}")


def _files(file: IO[bytes], member: str | None, name: str, depth: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a gzip, zip or tar, one in the other too, each to be read before the next is asked for."""
    if depth > _DEPTH:
        raise Undecodable(f"the archive has archives in it, more than {_DEPTH} deep")
    stream: Any = file if depth == 0 else io.BufferedReader(file, _CHUNK)  # type: ignore[type-var]
    if depth == 0:
        head = file.read(_HEAD)
        file.seek(0)
    else:
        head = stream.peek(_HEAD)[:_HEAD]
    if head[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=stream) as inside:
            yield from _files(inside, member, re.sub(r"\.gz$", "", name), depth + 1)  # type: ignore[arg-type]
    elif head[:4] == b"PK\x03\x04":
        if depth and not (depth == 1 and stream.seekable()):
            raise Undecodable("a zip inside another archive is not read piece by piece")
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if not info.is_dir() and wanted(info.filename, member):
                    with archive.open(info) as part:
                        yield from _files(part, None, info.filename, depth + 1)
    elif head[257:262] == b"ustar":
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() and wanted(entry.name, member) else None
                if content is not None:
                    yield from _files(_Forward(content), None, entry.name, depth + 1)  # type: ignore[arg-type]
                tar.members = []  # type: ignore[attr-defined]  # else it remembers every file
    else:
        yield name, stream


class _Forward(io.RawIOBase):
    """A file of a tar that is read once, from its beginning to its end."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _records(
    file: Any, headers: Mapping[str, str], how: Decode, path: str, most: int, name: str, absent: bool
) -> Iterator[Any]:
    stream = io.BufferedReader(file, _CHUNK)
    head = stream.peek(_HEAD)[:_HEAD]
    charset = how.charset or charset_of(headers, head)
    kind = how.format
    if kind == "auto":
        kind = format_of(headers.get("content-type", ""), name, head.decode(charset, "replace"))
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
        elif kind == "xml":
            text = io.TextIOWrapper(stream, charset)
            yield from xml_items(text, path, most, absent)
            text.detach()
        else:
            yield from (_value(item, charset) for item in json_items(stream, path, most, absent))
    except UnicodeError as error:
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


def json_items(stream: IO[bytes], path: str, most: int, absent: bool = False) -> Iterator[bytes]:
    """The texts of the elements of the list at a dotted `path` of a JSON value; what stands around it is skipped.

    Raises Undecodable where there is no such list (unless it may be `absent`), or the value ends before it does.
    """
    walker = _Walker(path.split(".") if path else [], most)
    while chunk := stream.read(_CHUNK):
        yield from walker.feed(chunk)
        if walker.ended:
            break
    if absent and walker.whole:
        return
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

    @property
    def whole(self) -> bool:
        """Whether a value was read to its end without that list."""
        return not self.inside and not self._keys and self._at > 0

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
            if not self._keys:
                raise Undecodable("the JSON of the body has a colon outside of any object")
            self._keys[-1] = self._key
        elif first == b"[" and self._keys == self._path:
            self.inside, self._item = True, self._at
        elif first in b"{[":
            self._keys.append(None)
        elif first in b"}]" and self._keys:
            self._keys.pop()
