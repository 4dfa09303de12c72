"""The landing area: the root under which every source has its folder, local or on S3.

One walk for both, in the order of the full names' UTF-8 bytes, as S3 lists keys: so a listing can stop anywhere,
go on from there, and be merged with what is known without holding either in memory.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from stat import S_ISREG
from typing import TYPE_CHECKING

from asgard_assets import project
from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing.bounds import (
    leads_out,
    open_inside,
    opened_folder,
    outside,
    stat_inside,
)
from asgard_assets.ingest.files.source.models import ByFolder, FileSource
from asgard_assets.lake.store import Found, Store
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

NAMES_BYTES, NAME_BYTES = 12 << 20, 57
"""Names of one folder held at once, and what each of them is besides its letters."""
_SHOWN, _SHOWN_PATH = 100, 200
_DEEPEST, _MOST_LINKS = 100, 2
"""Folders within each other, and links behind each other, that a listing goes down."""


@dataclass(frozen=True, order=True, slots=True)
class File:
    """A file as a listing saw it. Path is relative to the landing root; times are microseconds UTC.

    `etag` is the object store's; a local file has none, its size and time of change stand for it.
    """

    path: str
    size: int
    modified_us: int
    etag: str = ""

    @property
    def modified(self) -> datetime:
        return datetime.fromtimestamp(self.modified_us / 1e6, UTC)

    @property
    def version(self) -> str:
        """Names this content: another one means that the file was replaced."""
        return self.etag or f"{self.modified_us:x}-{self.size:x}"


@dataclass(frozen=True)
class Landing(Store):
    """The root of all sources' folders: a local folder or an S3 bucket's prefix."""

    called = ("ASGARD_LANDING", "files are read from")

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Landing:
        settings = settings or Settings()
        return cls(settings.landing_root, settings.s3_endpoint, settings.s3_region)

    def look(self, path: str) -> File | None:
        """The file as it is now; None where it is gone, or a link leads out of the root."""
        if self.remote:
            return self._head(path)
        try:
            stat = stat_inside(self.root, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat is None:
            return None
        return File(path, stat.st_size, stat.st_mtime_ns // 1000)

    def refuse_outside(self, path: str) -> None:
        """Raises SourceError where a link leads from `path` out of the root."""
        if not self.remote and leads_out(os.path.realpath(self.root), self.address(path)):
            raise outside(self.root, path)

    def open_stream(self, path: str, compression: str | None = None) -> pa.NativeFile:
        """The file's bytes from the beginning, decompressed. Raises OSError, SourceError where it leads out."""
        with self._opened(path) as address:
            return self.filesystem.open_input_stream(address, compression=compression)

    def open_file(self, path: str) -> pa.NativeFile:
        """The file, to be read anywhere. Raises as `open_stream`."""
        with self._opened(path) as address:
            return self.filesystem.open_input_file(address)

    def first_bytes(self, path: str, count: int) -> bytes:
        """The first bytes of the file as they lie there. Raises as `open_stream`."""
        if self.remote:
            with self.open_stream(path) as file:
                return file.read(count)
        with self._descriptor(path) as descriptor:
            return os.pread(descriptor, count, 0)

    @contextmanager
    def _opened(self, path: str) -> Iterator[str]:
        """Where `filesystem` finds this very file, even if its name leads elsewhere by then."""
        if self.remote:
            yield self.address(path)
            return
        with self._descriptor(path) as descriptor:
            yield f"/dev/fd/{descriptor}"

    @contextmanager
    def _descriptor(self, path: str) -> Iterator[int]:
        descriptor = open_inside(self.root, path)
        try:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceError(f"{path} is no file", source=path)
            yield descriptor
        finally:
            os.close(descriptor)

    def _head(self, path: str) -> File | None:
        try:
            found = self.head(path)
        except OSError as error:
            raise SourceError(f"{path}: the object store refuses to show it: {error}", source=path) from error
        return found and _file(found)


def walk(
    landing: Landing,
    source: FileSource,
    after: str | None = None,
    days: Set[str] | None = None,
    links_out: list[str] | None = None,
    now: Callable[[], float] = time.time,
) -> Iterator[File]:
    """The source's files in name order, from behind `after` on. Hidden names (`.x`, `_x`), folder markers and uploads
    under way (`x.tmp`) and files that are not `ready` are left out, and links that lead out of the landing root: `links_out` gets the first hundred of those.

    `days` is a hint: folders that the source's rule says belong to none of them are not opened. Raises
    SourceError where the source's folder does not exist or the store refuses.
    """
    prune = days if isinstance(source.ds, ByFolder) else None
    mark = f"{source.ds.name}=" if isinstance(source.ds, ByFolder) else ""
    if landing.remote:
        files = _walk_remote(landing, source.path, after or "", prune, mark)
    else:
        links = [] if links_out is None else links_out
        files = _walk_local(landing.root, source.path, after or "", prune, mark, links, top=True)
    yield from ready(landing, source, files, now)


def ready(
    landing: Landing, source: FileSource, files: Iterable[File], now: Callable[[], float] = time.time
) -> Iterator[File]:
    """Those of the files that the source's `ready` says are whole."""
    rule = source.ready
    if not rule.min_age_seconds and rule.marker is None:
        yield from files  # a million of them, each tick
        return
    marked: dict[str, bool] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if rule.min_age_seconds and file.modified_us > (now() - rule.min_age_seconds) * 1e6:
            continue
        if rule.marker is not None:
            if folder not in marked:
                marked[folder] = landing.look(f"{folder}/{rule.marker}") is not None
            if not marked[folder] or name == rule.marker:
                continue
        yield file


def _wanted(name: str, days: Set[str] | None, mark: str) -> bool:
    """False for a folder `ds=<day>` of a day that was not asked for."""
    return days is None or not name.startswith(mark) or name[len(mark) :] in days


_UNDER_WAY = (
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".download",
    ".inprogress",
    ".swp",
    "~",
)
"""How uploads and downloads name a file that is not whole yet, and editors their own."""
_MARKER = "_$folder$"
"""Beside or in each folder that Hadoop and EMR made in a bucket."""


def _hidden(name: str) -> bool:
    """Whether no source reads a file or folder of that name."""
    return name.startswith((".", "_")) or name.lower().endswith(_UNDER_WAY) or name.endswith(_MARKER)


def hidden(path: str) -> bool:
    """Whether a part of the path hides the file."""
    return any(_hidden(part) for part in path.split("/") if part not in ("", "."))


def _walk_local(
    root: str,
    folder: str,
    after: str,
    days: Set[str] | None,
    mark: str,
    links_out: list[str],
    top: bool = False,
    chain: tuple[str, ...] = (),
) -> Iterator[File]:
    """`chain`: the folders, as they really are, in which links were followed to come here."""
    if folder.count("/") > _DEEPEST:
        _note(links_out, f"{folder[:_SHOWN_PATH]}… (more than {_DEEPEST} folders deep)")
        return
    here, more = f"{folder}/", True
    inside = after[len(here) :] if after.startswith(here) else "" if after < here else None
    while more and inside is not None:
        try:
            names, more = _next_names(root, folder, inside, links_out, chain)
        except SourceError:
            if top:
                raise
            _note(links_out, folder)  # swapped for a link while we walked
            return
        except (FileNotFoundError, NotADirectoryError) as error:
            if not top:
                return  # removed while we walked, as a listing a moment later would find
            raise missing(root, folder) from error
        except OSError as error:
            if not top and error.errno in (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
                _note(links_out, f"{folder[:_SHOWN_PATH]} ({error.strerror})")
                return  # one odd folder does not hold up the others
            raise SourceError(f"{root}/{folder} cannot be listed: {error}", source=folder) from error
        for name in names:
            if name == inside:
                continue  # a folder that the look before ended with
            if name.endswith("/"):
                if _wanted(name[:-1], days, mark):
                    child = here + name[:-1]
                    linked = os.path.islink(f"{root}/{child}")
                    way = (*chain, os.path.realpath(f"{root}/{folder}")) if linked else chain
                    yield from _walk_local(root, child, after, days, mark, links_out, chain=way)
                continue
            try:
                stat = os.stat(f"{root}/{here}{name}")
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
                    continue  # gone, or a link to nowhere or to itself
                raise SourceError(
                    f"{root}/{here}{name} cannot be looked at: {error}", source=folder
                ) from error
            if S_ISREG(stat.st_mode):
                yield File(here + name, stat.st_size, stat.st_mtime_ns // 1000)
        inside = names[-1] if names else None


def _note(links_out: list[str], path: str) -> None:
    if len(links_out) < _SHOWN and path not in links_out:
        links_out.append(path)


def _next_names(
    root: str, folder: str, after: str, links_out: list[str], chain: tuple[str, ...] = ()
) -> tuple[list[str], bool]:
    """The first names in order that are or hold something behind `after`, and whether there are more.

    A folder's name ends with its slash, so that it sorts as its files do. A million names are 90 MB: those that
    come late in the order are left for the next look.
    """
    names: list[str] = []
    real_root, size, last, more = os.path.realpath(root), 0, "", False
    with opened_folder(root, folder) as opened, os.scandir(opened) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_symlink() and leads_out(real_root, f"{root}/{folder}/{name}"):
                if not _hidden(name):
                    _note(links_out, f"{folder}/{name}")
                continue
            if _is_folder(entry):
                name += "/"
            if last and name > last:
                more = True
            elif (
                not _hidden(name.rstrip("/"))
                and (not after or _reaches(name, after))
                and not _leads_back(f"{root}/{folder}", entry, chain)
            ):
                names.append(name)
                size += len(name) + NAME_BYTES
                if size > NAMES_BYTES:
                    names.sort()
                    del names[len(names) // 2 :]
                    size, last, more = sum(map(len, names)) + len(names) * NAME_BYTES, names[-1], True
    names.sort()
    return names, more


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """False for a link that leads to itself, too."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _leads_back(folder: str, entry: os.DirEntry[str], chain: tuple[str, ...]) -> bool:
    """Whether it is a link to a folder that it lies in, or that a link led here from: everything would be listed again
    and again. So it would by links behind links, of which two are followed."""
    if not entry.is_symlink() or not _is_folder(entry):
        return False
    target = os.path.realpath(f"{folder}/{entry.name}")
    here = (os.path.realpath(folder), *chain)
    return len(chain) >= _MOST_LINKS or any(f"{place}/".startswith(f"{target}/") for place in here)


def _reaches(path: str, after: str) -> bool:
    """Whether the file, or anything in the folder, comes behind `after`."""
    return path > after or (path.endswith("/") and after.startswith(path))


def _walk_remote(
    landing: Landing, folder: str, after: str, days: Set[str] | None, mark: str
) -> Iterator[File]:
    seen = False
    for file in _keys(landing, f"{folder}/", after, days, mark):
        seen = True
        if file.path.endswith("/"):
            continue  # an object that stands for a folder
        if not any(_hidden(part) for part in file.path[len(folder) + 1 :].split("/")):
            yield file
    if not seen and not after and days is None:
        raise missing(landing.root, folder)


def _keys(landing: Landing, prefix: str, after: str, days: Set[str] | None, mark: str) -> Iterator[File]:
    """Objects under a prefix in key order; folder by folder where folders can be passed over."""
    try:
        for page in landing.pages(prefix, after, folders=days is not None):
            for found in page:
                if isinstance(found, Found):
                    yield _file(found)
                elif _wanted(found[len(prefix) : -1], days, mark) and _reaches(found, after):
                    yield from _keys(landing, found, after, days, mark)
    except OSError as error:
        raise SourceError(f"{landing.address(prefix)} cannot be listed: {error}", source=prefix) from error


def _file(found: Found) -> File:
    return File(found.path, found.size, int(found.modified.timestamp() * 1e6), found.etag)


class FolderMissingError(SourceError):
    """The folder that a source names is not there (yet)."""


def missing(landing_root: str, path: str) -> FolderMissingError:
    return FolderMissingError(
        f"{landing_root}/{path} does not exist, so there is nothing to load from; create the folder or correct "
        f"`path` in the source's defs.yaml (the landing root is the setting ASGARD_LANDING){project.without_env()}",
        source=path,
    )
