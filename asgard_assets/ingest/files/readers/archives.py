"""Files in a ZIP or tar archive, each as if it lay in the landing folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from asgard_assets.ingest.files.landing.area import hidden

_HELD = 1 << 30
"""A member that must be read anywhere, such as Parquet, is held in memory."""


@dataclass(frozen=True)
class Member:
    """A file of an archive, with what a reader asks of the landing area."""

    name: str
    opened: Any

    def open_stream(self, path: str, compression: str | None = None) -> Any:
        import pyarrow as pa

        stream = self.opened()
        return pa.CompressedInputStream(pa.PythonFile(stream, "r"), compression) if compression else stream

    def first_bytes(self, path: str, count: int) -> bytes:
        with self.opened() as stream:
            return stream.read(count)

    def open_file(self, path: str) -> Any:
        import pyarrow as pa

        with self.opened() as stream:
            content = stream.read(_HELD + 1)
        if len(content) > _HELD:
            raise ValueError("as a file within an archive it is longer than 1 GiB")
        return pa.BufferReader(content)


def members(file: IO[bytes], kind: str) -> Iterator[Member]:
    """The archive's files in the order of their names (of a tar, as they come), hidden ones left out."""
    yield from _of_zip(file) if kind == "zip" else _of_tar(file)


def _of_zip(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in sorted(archive.infolist(), key=lambda each: each.filename):
            if info.flag_bits & 1:
                raise ValueError(f"{info.filename} in it is encrypted with a password")
            if not info.is_dir() and not hidden(info.filename):
                yield Member(info.filename, lambda info=info: archive.open(info))


def _of_tar(file: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for info in archive:
            if info.isfile() and not hidden(info.name):
                # A tar is read once, from the front: what several looks need is held.
                stream = archive.extractfile(info)
                assert stream is not None
                content = stream.read(_HELD + 1)
                if len(content) > _HELD:
                    raise ValueError(f"{info.name} in it is longer than 1 GiB")
                yield Member(info.name, lambda content=content: io.BytesIO(content))
