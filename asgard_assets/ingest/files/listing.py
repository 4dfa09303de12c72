"""The landing folder: which files a source has, and to which day each belongs."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from pyarrow import fs as pafs

# `2026_10_05_<epoch ms>_<part>.jsonl.gz`: all parts of one sync carry one epoch.
_GENERATION = re.compile(r"[0-9]{4}[_-][0-9]{2}[_-][0-9]{2}_([0-9]{10,})_[^/]*$")


@dataclass(frozen=True, order=True)
class File:
    """A file as the listing saw it. Path is relative to the landing root; times are microseconds UTC."""

    path: str
    size: int
    modified_us: int

    @property
    def modified(self) -> datetime:
        return datetime.fromtimestamp(self.modified_us / 1e6, UTC)


@dataclass(frozen=True)
class Listing:
    """A source's files by day. `undated` belong to no day, or their names are no text; `stopped_at` is where a budget ended the listing."""

    days: dict[str, list[File]]
    undated: tuple[str, ...] = ()
    stopped_at: str | None = None


@dataclass(frozen=True)
class Landing:
    """The root under which every source has its folder: local or `s3://bucket/prefix`."""

    root: str
    endpoint: str | None = None
    region: str = "us-east-1"

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Landing:
        settings = settings or Settings()
        return cls(settings.landing_root, settings.s3_endpoint, settings.s3_region)

    @property
    def filesystem(self) -> pafs.FileSystem:
        return Lake(self.root, self.endpoint, self.region).filesystem

    def full(self, path: str) -> str:
        """A path as `filesystem` takes it."""
        return f"{self.root.removeprefix('s3://')}/{path}"

    def look(self, path: str) -> File | None:
        """The file as it is now; None where it is gone."""
        from pyarrow import fs as pafs

        info = self.filesystem.get_file_info(self.full(path))
        if info.type != pafs.FileType.File:
            return None
        return File(path, info.size, info.mtime_ns // 1000)


def list_files(
    landing: Landing,
    source: FileSource,
    after: str | None = None,
    budget_seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Listing:
    """List the source's files in name order, folder by folder. Hidden names (`.x`, `_x`) are left out.

    Of a snapshot source each day has only its newest generation. With a budget the listing may stop early and say where; `after` takes it up again. Raises SourceError
    where the source's folder does not exist.
    """
    if landing.root.startswith("s3://"):
        found: Iterable[File] = _walk_remote(landing, source)
    else:
        found = _walk_local(landing.root, source.path, _parts(after))
    deadline = None if budget_seconds is None else clock() + budget_seconds
    days: dict[str, list[File]] = {}
    undated: list[str] = []
    stopped_at = None
    for file in found:
        if after is not None and _parts(file.path) <= _parts(after):
            continue
        if fnmatch.fnmatchcase(file.path[len(source.path) + 1 :], source.glob):
            day = source.ds.day(file.path, file.modified)
            if day is None or not _is_text(file.path):
                undated.append(file.path.encode("utf-8", "backslashreplace").decode())
            else:
                days.setdefault(day, []).append(file)
        if deadline is not None and clock() > deadline:
            stopped_at = file.path
            break
    if source.files == "snapshot":
        days = {day: _newest(files) for day, files in days.items()}
    return Listing({day: sorted(days[day]) for day in sorted(days)}, tuple(undated), stopped_at)


def _is_text(path: str) -> bool:
    """False for a name that is no UTF-8: no table could say where its rows come from."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _newest(files: list[File]) -> list[File]:
    """The files of the newest generation; all of them where the names tell of none."""
    stamps = [int(found[1]) if (found := _GENERATION.search(f.path)) else 0 for f in files]
    return [file for file, stamp in zip(files, stamps, strict=True) if stamp == max(stamps)]


def batch_hash(files: Iterable[File]) -> str:
    """Names this exact set of files: any new, changed or missing one gives another hash."""
    text = "\n".join(f"{f.path}\t{f.size}\t{f.modified_us}" for f in sorted(files))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _missing(landing_root: str, source: FileSource | str) -> SourceError:
    path = source if isinstance(source, str) else source.path
    return SourceError(
        f"{landing_root}/{path} does not exist, so there is nothing to load from; create the folder or correct "
        "`path` in the source's defs.yaml (the landing root is the setting ASGARD_LANDING)",
        source=path,
    )


def _parts(path: str | None) -> tuple[str, ...]:
    return tuple(path.split("/")) if path else ()


def _walk_local(root: str, folder: str, after: tuple[str, ...]) -> Iterator[File]:
    try:
        entries = sorted(os.scandir(f"{root}/{folder}"), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(root, folder) from error
    for entry in entries:
        path = f"{folder}/{entry.name}"
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            # A folder that sorts wholly before the cursor need not be opened.
            if _parts(path) >= after[: len(_parts(path))]:
                yield from _walk_inside(root, path, after)
            continue
        try:
            stat = entry.stat()
        except FileNotFoundError:
            continue
        yield File(path, stat.st_size, stat.st_mtime_ns // 1000)


def _walk_inside(root: str, folder: str, after: tuple[str, ...]) -> Iterator[File]:
    try:
        yield from _walk_local(root, folder, after)
    except SourceError:
        # Removed while we walked: its files are gone, which is what a listing a moment later would say.
        return


def _walk_remote(landing: Landing, source: FileSource) -> Iterator[File]:
    from pyarrow import fs as pafs

    base = landing.full(source.path)
    try:
        infos = landing.filesystem.get_file_info(pafs.FileSelector(base, recursive=True))
    except FileNotFoundError as error:
        raise _missing(landing.root, source) from error
    cut = len(landing.full(""))
    for info in sorted(infos, key=lambda i: i.path.split("/")):
        path = info.path[cut:]
        inside = path[len(source.path) + 1 :].split("/")
        if info.type == pafs.FileType.File and not any(p.startswith((".", "_")) for p in inside):
            yield File(path, info.size, info.mtime_ns // 1000)
