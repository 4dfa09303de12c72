"""Bodies to values: JSON, NDJSON, CSV and XML, also packed as gzip, zip or tar. Pure, no I/O."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from asgard_assets.ingest.api.http.charsets import charset_of, decoded
from asgard_assets.ingest.api.http.messages import Oversized, Undecodable
from asgard_assets.ingest.api.http.xml import read_xml
from asgard_assets.ingest.api.source.decoders import Decode
from asgard_assets.ingest.api.values import exact

_JSON_LINES = re.compile(r"ndjson|jsonl|json-?lines|json-seq|x-json-stream", re.IGNORECASE)
_SPREADSHEET = re.compile(r"\b(csv|comma-separated|tab-separated)", re.IGNORECASE)
_HTML = re.compile(r"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
_PLAIN = Decode()


def decode(headers: Mapping[str, str], body: bytes, how: Decode = _PLAIN, most: int = 1 << 30) -> Any:
    """The body's value: what JSON holds, or the list of records of the other formats.

    Raises Undecodable, or Oversized where it unpacks to more than `most` bytes.
    """
    if body[:2] in (b"\x1f\x8b", b"PK") or body[257:262] == b"ustar":
        files = list(unpacked(body, how.member, most))
        if not files and body[:2] != b"\x1f\x8b":
            raise Undecodable(f"the archive has no file{f' named {how.member}' if how.member else ''}")
        if len(files) == 1:
            return _value(headers, files[0][1], how, files[0][0])
        records: list[Any] = []
        for name, content in files:
            value = _value({}, content, how, name)
            records += value if isinstance(value, list) else [value]
        return records
    return _value(headers, body, how, "")


def _value(headers: Mapping[str, str], body: bytes, how: Decode, name: str) -> Any:
    kind = how.format
    told = headers.get("content-type", "")
    if kind == "auto" and told.startswith("application/json") and told[16:17] in ("", ";", " "):
        kind = "json"
    if kind == "json" and how.charset is None and "charset" not in told:
        return read_json(body)  # the usual case: no text is made of it
    text, unread = decoded(body, how.charset or charset_of(headers, body))
    if unread:
        # A list's values would be spoilt for good.
        raise Undecodable(f"the page is not in the charset that it names: {unread} characters cannot be read")
    if kind == "auto":
        kind = format_of(told, name, text)
    if kind == "json":
        return read_json(text)
    if kind == "ndjson":
        return [read_json(line.strip("\x1e \t\r")) for line in text.split("\n") if line.strip("\x1e \t\r")]
    if kind == "csv":
        delimiter = how.delimiter or ("\t" if "tab-separated" in told or name.endswith(".tsv") else None)
        text = text.removeprefix("\ufeff")
        first = text.split("\n", 1)[0]
        delimiter = delimiter or max(",;\t|", key=first.count)
        return list(csv_records(io.StringIO(text, newline=""), delimiter, how.header))
    return read_xml(text)


def format_of(told: str, name: str, text: str) -> str:
    """By Content-Type and the file's name, else by how it begins."""
    if _HTML.match(text):
        raise Undecodable(f"the page is no JSON but HTML: {_begin(re.sub('<[^>]*>', ' ', text))}")
    if _JSON_LINES.search(told) or name.endswith((".ndjson", ".jsonl")):
        return "ndjson"
    if _SPREADSHEET.search(told) or name.endswith((".csv", ".tsv")):
        return "csv"
    begins = text.lstrip("\ufeff \t\r\n")[:1]
    if begins == "<":
        return "xml"
    lines = text.split("\n", 2)
    if begins == "{" and len(lines) > 1 and lines[0].rstrip().endswith("}") and lines[1].startswith("{"):
        return "ndjson"
    return "json"


def read_json(body: bytes | str) -> Any:
    """A JSON value. Half of a surrogate pair becomes U+FFFD (see `halves`), NaN and Infinity become text; raises Undecodable."""
    import orjson

    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _lenient(body, error)
    if type(value) is float or exact.suspect(body if isinstance(body, bytes) else body.encode()):
        return exact.loads(body)
    return value


def _lenient(body: bytes | str, found: ValueError) -> Any:

    text = body if isinstance(body, str) else body.decode("utf-8-sig", "surrogateescape")
    # As they stand, such signs are bytes that are not UTF-8; what is written as an escape is half of a pair.
    if not any("\udc80" <= sign <= "\udcff" for sign in text):
        with contextlib.suppress(ValueError, RecursionError):
            return _mended(exact.loads(text.lstrip("\ufeff")))
    if not text.strip():
        raise Undecodable("the page is no JSON: it is empty") from found
    if _HTML.match(text):
        raise Undecodable(f"the page is no JSON but HTML: {_begin(re.sub('<[^>]*>', ' ', text))}") from found
    raise Undecodable(f"the page is no JSON: {found}; it begins with {_begin(text)}") from found


def _mended(value: Any) -> Any:
    """The same without halves of surrogate pairs, which no table can hold."""
    if isinstance(value, str):
        if value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value):
            return value
        return Mended(value)
    if isinstance(value, dict):
        mended = {_mended(name): _mended(inner) for name, inner in value.items()}
        if len(mended) < len(value):
            raise ValueError("two names become one")
        return mended
    return [_mended(inner) for inner in value] if isinstance(value, list) else value


class Mended(str):
    """A text in which halves of surrogate pairs are U+FFFD, for no table can hold them. `sent`: as it was sent."""

    __slots__ = ("sent",)

    def __new__(cls, text: str) -> Mended:
        mended = super().__new__(cls, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        mended.sent = json.dumps(text)
        return mended


def halves(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every text that was mended, by path, as it was sent."""
    if isinstance(value, Mended):
        yield at, value.sent
    elif isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(name, Mended):
                yield at, name.sent
            yield from halves(inner, f"{at}.{name}".strip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from halves(inner, f"{at}.{index}".strip("."))


def _begin(text: str) -> str:
    return repr(" ".join(text.split())[:80])


# Records that are no JSON ----------------------------------------------------------------------------------


def csv_records(lines: Iterable[str], delimiter: str, header: bool) -> Iterator[dict[str, str | None]]:
    """Records of a CSV by column. Raises Undecodable."""
    import csv

    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for number, row in enumerate(rows, 1):
            if not row:
                continue
            if not names:
                names = _distinct(row) if header else [f"c{at}" for at in range(1, len(row) + 1)]
                if header:
                    continue
            if len(row) != len(names):
                raise Undecodable(f"record {number} of the CSV has {len(row)} fields, not {len(names)}")
            yield dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise Undecodable(f"the page is no CSV: {error}") from error


def _distinct(row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if len(set(names)) < len(names):
        raise Undecodable("the CSV names a column twice; set form.decode.header to false, or the delimiter")
    return names


# Packed bodies ---------------------------------------------------------------------------------------------


def unpacked(body: bytes, member: str | None, most: int) -> Iterator[tuple[str, bytes]]:
    """The files of a gzip, zip or tar, one in the other too; never more than `most` bytes in all."""
    left = [most]
    yield from _files("", body, member, left, 0)


def _files(
    name: str, body: bytes, member: str | None, left: list[int], depth: int
) -> Iterator[tuple[str, bytes]]:
    import tarfile
    import zipfile

    if depth > 3:
        raise Undecodable("the archive has archives in it, more than three deep")
    try:
        if body[:2] == b"\x1f\x8b":
            yield from _files(re.sub(r"\.gz$", "", name), _gunzip(body, left), member, left, depth + 1)
        elif body[:4] == b"PK\x03\x04" or body[:4] == b"PK\x05\x06":
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and wanted(info.filename, member):
                        with archive.open(info) as stream:
                            content = _bounded(stream, left)
                        yield from _files(info.filename, content, None, left, depth + 1)
        elif body[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
                for entry in archive:
                    stream = archive.extractfile(entry) if entry.isfile() else None
                    if stream is not None and wanted(entry.name, member):
                        yield from _files(entry.name, _bounded(stream, left), None, left, depth + 1)
        else:
            yield name, body
    except (*BROKEN, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise Undecodable(f"the archive cannot be unpacked: {error}") from error


BROKEN = (EOFError, RuntimeError, ValueError, LookupError, OSError, OverflowError, struct.error)
"""What unpacking also raises where bytes are not what they say."""


def wanted(name: str, member: str | None) -> bool:
    hidden = name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
    return fnmatch.fnmatch(name, member) if member else not hidden


def _bounded(stream: Any, left: list[int]) -> bytes:
    content = stream.read(left[0] + 1)
    _take(left, len(content))
    return content


def _gunzip(body: bytes, left: list[int]) -> bytes:
    """All members of a gzip file, never unpacked past what is `left`."""
    parts: list[bytes] = []
    while body:
        inflate = zlib.decompressobj(31)
        part = inflate.decompress(body, left[0] + 1)
        _take(left, len(part))
        parts.append(part)
        if not inflate.eof:
            raise EOFError("it is cut short")
        body = inflate.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _take(left: list[int], size: int) -> None:
    left[0] -= size
    if left[0] < 0:
        raise Oversized("unpacked, the body is longer than sink.max_body_bytes allows")
