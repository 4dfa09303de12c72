"""From a file's bytes to records. Nothing is guessed, nothing is dropped.

A record that fits becomes a row; one that does not (a CSV record with another number of fields than the header, a
line that is no JSON object) is told with its position, its text and the reason. A file that cannot be read as a
whole raises SourceError.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.readers.records import Bad, Range, Records, held
from asgard_assets.ingest.files.source.formats import (
    HEAD_BYTES,
    Auto,
    Avro,
    Binary,
    Compression,
    Concrete,
    Csv,
    Excel,
    Fixed,
    Json,
    Orc,
    Parquet,
    Text,
    Xml,
    archive_of,
    compressed_with,
    compression_of,
    disguise,
    extension,
    format_of,
    wide_encoding,
)

__all__ = ["Bad", "How", "Range", "Records", "how_to_read", "open_bytes", "read_file", "read_here"]


@dataclass(frozen=True)
class How:
    """How one file is to be read. `exact`: numbers of JSON are kept as they were written. Of an archive: how its files
    are."""

    format: Concrete
    compression: str
    exact: bool = True
    archive: str = ""
    declared: Auto | Concrete = field(default_factory=Auto)


def how_to_read(path: str, declared: Auto | Concrete, compression: Compression, exact: bool = True) -> How:
    """Raises SourceError, naming the file, where its extension says nothing and nothing was declared."""
    if archive := archive_of(path, declared):
        return How(Binary(), compression_of(path, compression), exact, archive, declared)
    found = format_of(path, declared)
    if found is None:
        raise SourceError(f"{path}: {_why_unread(path)}, or leave the file out with `glob`", source=path)
    return How(found, compression_of(path, compression), exact)


def _why_unread(path: str) -> str:
    match extension(path):
        case ".xml":
            return (
                "XML does not say which element is a record; say `format: {type: xml, row_tag: …}` in the "
                "source's defs.yaml"
            )
        case ".7z" | ".rar" as archive:
            return f"an archive ({archive}) is not opened; pack it as .zip or .tar.gz, or unpack it where it is dropped"
        case _:
            return (
                "its name does not say how to read it (csv, tsv, json, jsonl, ndjson, parquet, avro, orc, txt, log, "
                "xlsx, xls, zip, tar; also with .gz, .zst, .bz2, .xz, .lz4); say it under `format` in the source's defs.yaml"
            )


def open_bytes(landing: Landing, path: str, compression: str) -> IO[bytes]:
    """The file's bytes from the beginning, decompressed."""
    if compression == "gzip" and _is_padded(landing, path):
        import gzip

        # pyarrow takes the zeros for another member; gzip itself passes over them.
        return gzip.open(landing.open_stream(path))  # pyright: ignore[reportReturnType]
    if compression != "xz":
        return landing.open_stream(path, compression or None)
    import lzma

    # pyarrow knows no xz. The raw file is closed with its last reference.
    return lzma.open(landing.open_stream(path))  # pyright: ignore[reportReturnType]


def _told(error: BaseException) -> str:
    text = str(error)
    if re.search("invalid_?object_?state", text, re.IGNORECASE):
        return "it lies in an archive class of the store, such as Glacier; restore it, then load it again"
    return text


_PADDING = bytes(16)


def _is_padded(landing: Landing, path: str) -> bool:
    """Whether the file ends with zeros, as tapes and mainframes leave them."""
    with landing.open_file(path) as file:
        size = file.size()
        if size < 2 * len(_PADDING):
            return False
        file.seek(size - len(_PADDING))
        return file.read(len(_PADDING)) == _PADDING


def read_file(landing: Landing, path: str, how: How, part: Range | None = None) -> Iterator[Records]:
    """Yield the file's records in batches, or those of a part of it.

    Binary formats are read in a process of their own, which their bytes may end. Raises SourceError, naming the file,
    where it cannot be read.
    """
    from asgard_assets.ingest.files.readers.apart import read_apart
    from asgard_assets.ingest.files.readers.isolated import BINARY, ThisProcess

    is_binary = bool(how.archive) or how.format.type in BINARY
    if is_binary and not ThisProcess.is_apart:
        return read_apart(landing, path, how, part, read_here)
    return read_here(landing, path, how, part)


def read_here(landing: Landing, path: str, how: How, part: Range | None = None) -> Iterator[Records]:
    """The same in this process: for those that already read apart, and for bytes that are known to be good."""
    import csv
    import lzma
    import struct
    import tarfile
    import xml.etree.ElementTree as ElementTree
    import zipfile
    import zlib

    import pyarrow as pa

    try:
        if how.archive:
            yield from _of_archive(landing, path, how)
            return
        _refuse_disguise(landing, path, how)
        yield from _read(landing, path, how, part)
    except (
        OSError,
        EOFError,
        ValueError,
        # What readers of damaged bytes raise: a length, an index or a type that cannot be.
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        SystemError,
        TypeError,
        csv.Error,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,
        struct.error,
        zlib.error,
        ElementTree.ParseError,
        pa.ArrowException,
    ) as error:
        raise SourceError(f"{path} cannot be read: {_told(error)}", source=path) from error


def _of_archive(landing: Landing, path: str, how: How) -> Iterator[Records]:
    """The records of all its files, one file after the other; positions go on."""
    from asgard_assets.ingest.files.readers import archives

    first, seen = 0, False
    with (
        open_bytes(landing, path, how.compression)
        if how.archive == "tar"
        else landing.open_file(path) as file
    ):
        for member in archives.members(file, how.archive):
            seen, end = True, first
            inner = how_to_read(member.name, how.declared, "auto", how.exact)
            if inner.archive:
                raise ValueError(f"{member.name} in it is an archive itself; unpack it where it is dropped")
            for records in read_here(member, member.name, inner):  # pyright: ignore[reportArgumentType]
                bad = [
                    replace(b, row=b.row + first, reason=f"{member.name}: {b.reason}") for b in records.bad
                ]
                moved = replace(records, rows=records.rows + first, bad=bad, member=member.name)
                end = max([end, *(int(row) + 1 for row in moved.rows[-1:]), *(b.row + 1 for b in bad)])
                yield moved
            first = end
    if not seen:
        raise ValueError("holds no file")


def _refuse_disguise(landing: Landing, path: str, how: How) -> None:
    kind = how.format.type
    if how.compression:
        _refuse_plain(landing, path, how.compression)
    if how.compression:
        with open_bytes(landing, path, how.compression) as stream:
            head = stream.read(HEAD_BYTES)
    else:
        head = landing.first_bytes(path, HEAD_BYTES)
    if encoding := wide_encoding(head, how.format):
        raise SourceError(
            f"{path} is {encoding.upper()} and was not read as UTF-8; set `encoding: {encoding}` under `format`",
            source=path,
        )
    found = disguise(head, how.format)
    if found:
        also = "compressed with " if found in ("gzip", "zstd", "bz2", "xz", "lz4") else ""
        raise SourceError(
            f"{path} is {also}{found}, which its name or `format` does not say; it was not read as {kind}",
            source=path,
        )


def _refuse_plain(landing: Landing, path: str, compression: str) -> None:
    """Raises SourceError where the file's first bytes are not those of its compression."""
    head = landing.first_bytes(path, HEAD_BYTES)
    if head and compressed_with(head) != compression and not _is_skippable(head, compression):
        found = compressed_with(head)
        really = (
            f"it is compressed with {found}; set `compression: {found}`"
            if found
            else "set `compression: none`"
        )
        raise SourceError(
            f"{path} is not compressed with {compression}, though its name or `compression` says so; {really}",
            source=path,
        )


def _is_skippable(head: bytes, compression: str) -> bool:
    """Whether the file begins with a frame without data, as zstd and lz4 may."""
    return compression in ("zstd", "lz4") and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F


def _read(landing: Landing, path: str, how: How, part: Range | None) -> Iterator[Records]:
    from asgard_assets.ingest.files.readers import (
        columnar,
        delimited,
        fixed,
        json_text,
        markup,
        plain,
        sheets,
    )

    match how.format:
        case Parquet() | Orc():
            with (
                open_bytes(landing, path, how.compression)
                if how.compression
                else landing.open_file(path) as file
            ):
                source = io.BytesIO(held(file)) if how.compression else file
                if isinstance(how.format, Parquet):
                    yield from columnar.parquet(source, how.format, part)
                else:
                    yield from columnar.orc(source, part)
        case Avro():
            with open_bytes(landing, path, how.compression) as stream:
                yield from columnar.avro(stream)
        case Csv() as options:
            yield from delimited.records(lambda: _part(landing, path, how, part), path, options, part)
        case Json() as options:
            with _part(landing, path, how, part) as stream:
                yield from json_text.records(stream, path, options, how.exact, part)
        case Xml() as options:
            with open_bytes(landing, path, how.compression) as stream:
                yield from markup.records(stream, options)
        case Text() as options:
            with _part(landing, path, how, part) as stream:
                yield from plain.text(stream, options, part)
        case Fixed() as options:
            with open_bytes(landing, path, how.compression) as stream:
                yield from fixed.records(stream, options)
        case Excel() as options:
            with open_bytes(landing, path, how.compression) as stream:
                yield from sheets.sheet(stream, options)
        case Binary():
            with open_bytes(landing, path, how.compression) as stream:
                yield from plain.binary(stream)


def _part(landing: Landing, path: str, how: How, part: Range | None) -> IO[bytes]:
    if part is None:
        return open_bytes(landing, path, how.compression)
    file = landing.open_file(path)
    file.seek(part.start)
    return io.BufferedReader(_Window(file, part.end - part.start), 1 << 20)


class _Window(io.RawIOBase):
    """So many bytes of a file from where it stands."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
