"""What there is to load: the landing folder against the manifest, both read in name order, neither held.

`scan` is one budgeted look, for sensors: it can stop anywhere, say where, and be taken up again. Where the
producer promises ordered names (`ordered: true`) it begins behind the last name below which every file is loaded;
otherwise, and when asked for a full one, at the first name.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

from asgard_assets.ingest.files.landing.area import File, Landing, ready, walk
from asgard_assets.ingest.files.plan.manifest import Known, Manifest, open_manifest
from asgard_assets.ingest.files.plan.quarantine import failed_files
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake

State = Literal["pending", "loaded", "changed", "deleted", "failed"]

# `2026_10_05_<epoch ms>_<part>.jsonl.gz`: all parts of one sync carry one epoch.
_GENERATION = re.compile(r"[0-9]{4}[_-][0-9]{2}[_-][0-9]{2}_([0-9]{10,})_[^/]*$")
_SHOWN = 100
_TOLD = 1_000


@dataclass(frozen=True)
class FileState:
    """Where a file stands: never loaded, loaded as it is, changed since, gone since, or failed with a reason.

    `version` names its content, as `File.version` does.
    """

    path: str
    ds: str
    state: State
    size: int = 0
    modified_us: int = 0
    reason: str = ""
    version: str = ""


@dataclass(frozen=True)
class Scan:
    """One look at a source.

    `todo` has the new and changed files by day, those that failed and were not loaded included. `cursor` is
    where the next look goes on, None where this one reached the end. `deleted` and `undated` (no day in the
    name, or a name that is no text) show the first hundred, the counts count all; so does `links_out`, links that lead
    out of the landing root and are not followed.
    """

    todo: Mapping[str, list[File]]
    changed: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    deleted: tuple[str, ...] = ()
    deleted_count: int = 0
    undated: tuple[str, ...] = ()
    undated_count: int = 0
    listed: int = 0
    cursor: str | None = None
    links_out: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """Files outstanding."""
        return sum(len(files) for files in self.todo.values())

    @property
    def bytes(self) -> int:
        """Bytes outstanding."""
        return sum(f.size for files in self.todo.values() for f in files)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest outstanding file was last modified."""
        return min((f.modified_us for files in self.todo.values() for f in files), default=None)


def scan(
    lake: Lake,
    landing: Landing,
    source: FileSource,
    cursor: str | None = None,
    budget_seconds: float | None = None,
    full: bool = False,
    max_files: int = 50_000,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[int], None] | None = None,
) -> Scan:
    """Look for new, changed and deleted files behind `cursor`, for so long and so many at most. `tell` gets how many
    files are listed, every thousand.

    Of an ordered source only names behind the watermark are looked at, unless `full`. Memory does not grow with
    the number of known files. Raises SourceError where the source's folder cannot be listed.
    """
    deadline = None if budget_seconds is None else clock() + budget_seconds
    manifest = open_manifest(lake, source.name)
    reached = watermark(manifest) if source.ordered else None
    mark = None if full else reached
    start = max(cursor or "", mark or "")
    failures = failed_files(lake, source.name)
    found = _Found()
    generations: dict[str, int] = {}
    done_to, unbroken = mark, source.ordered and (not cursor or cursor == mark)
    for path, listed, known in merged(
        walk(landing, source, start or None, links_out=found.links_out), manifest, start
    ):
        todo = found.take(source, path, listed, known, failures)
        if listed is not None and source.files == "snapshot":
            _raise_generation(generations, source, listed)
        if unbroken and todo:
            unbroken = False
        elif unbroken and listed is not None:
            done_to = path
        if tell is not None and found.listed % _TOLD == 0:
            tell(found.listed)
        late = deadline is not None and clock() > deadline
        if late or found.size >= max_files:
            found.cursor = path
            break
    if source.ordered and done_to and done_to > (reached or ""):
        _write_watermark(manifest, done_to)
    if source.ordered:
        _reach_back(manifest, found)
    return found.scan(generations)


def scan_announced(lake: Lake, landing: Landing, source: FileSource, files: Iterable[File]) -> Scan:
    """Of files that somebody says were written, those that are not loaded as they are said to be now."""
    newest: dict[str, File] = {}
    for file in ready(landing, source, files):
        if file.path not in newest or newest[file.path].modified_us <= file.modified_us:
            newest[file.path] = file
    found = _Found()
    if newest:
        known = open_manifest(lake, source.name).of_paths(sorted(newest))
        failures = failed_files(lake, source.name)
        for path in sorted(newest):
            found.take(source, path, newest[path], known.get(path), failures)
        if source.ordered:
            _reach_back(open_manifest(lake, source.name), found)
    return found.scan({})


def _reach_back(manifest: Manifest, found: _Found) -> None:
    """Where a late or changed file was found below the watermark, take that back to before it: the run that loads the
    file lists behind the watermark, too."""
    mark = watermark(manifest)
    first = min((file.path for files in found.todo.values() for file in files), default=None)
    if mark is not None and first is not None and first <= mark:
        _write_watermark(manifest, first[:-1])


def watermark(manifest: Manifest) -> str | None:
    """The name up to which every file of an ordered source was seen loaded; None where there is none yet."""
    try:
        told = json.loads(manifest.lake.get(_watermark_path(manifest)))
    except FileNotFoundError:
        return None
    # A table restored to an earlier version has lower numbers: what lies below must be looked at again.
    return told["path"] if told["numbers"] <= sum(manifest.numbers.values()) else None


def _write_watermark(manifest: Manifest, path: str) -> None:
    content = json.dumps({"path": path, "numbers": sum(manifest.numbers.values())}).encode()
    manifest.lake.put(_watermark_path(manifest), content)


def _watermark_path(manifest: Manifest) -> str:
    return f"_manifest/{manifest.source}/watermark.json"


def file_states(
    lake: Lake,
    landing: Landing,
    source: FileSource,
    states: Set[State] | None = None,
    tell: Callable[[int], None] | None = None,
) -> Iterator[FileState]:
    """Every file that is listed or was loaded, with its state, in name order; of some states or of all. `tell` gets how
    many files were looked at, every thousand."""
    manifest = open_manifest(lake, source.name)
    failures = failed_files(lake, source.name)
    generations: dict[str, int] = {}
    if source.files == "snapshot":
        for file in walk(landing, source):
            _raise_generation(generations, source, file)
    for number, (path, listed, known) in enumerate(merged(walk(landing, source), manifest, ""), 1):
        if tell is not None and number % _TOLD == 0:
            tell(number)
        found = _judge(source, path, listed, known, failures)
        if found is None or (states is not None and found.state not in states):
            continue
        if found.state == "deleted" or generation(path) >= generations.get(found.ds, 0):
            yield found


def merged(
    listed: Iterator[File], manifest: Manifest, after: str
) -> Iterator[tuple[str, File | None, Known | None]]:
    """Listed and known files side by side, in name order."""
    entries = manifest.entries(after)
    known = next(entries, None)
    for file in listed:
        while known is not None and known.file.path < file.path:
            yield known.file.path, None, known
            known = next(entries, None)
        if known is not None and known.file.path == file.path:
            yield file.path, file, known
            known = next(entries, None)
        else:
            yield file.path, file, None
    while known is not None:
        yield known.file.path, None, known
        known = next(entries, None)


def _judge(
    source: FileSource,
    path: str,
    listed: File | None,
    known: Known | None,
    failures: Mapping[str, tuple[str, str]],
) -> FileState | None:
    """None for a file that is not the source's, that belongs to no day, or to one before `load_from`."""
    if listed is None:
        return (
            FileState(path, known.ds, "deleted", known.file.size, known.file.modified_us) if known else None
        )
    day = day_of(source, listed) if chosen(source, path) else None
    if day is None or source.begins_after(day):
        return None
    version, reason = failures.get(path, ("", ""))
    if version == listed.version:
        state: State = "failed"
    elif known is None:
        state = "pending"
    else:
        state = "loaded" if known.file.version == listed.version else "changed"
    why = reason if state == "failed" else ""
    return FileState(path, day, state, listed.size, listed.modified_us, why, listed.version)


class _Found:
    """Gathers one scan."""

    def __init__(self) -> None:
        self.todo: dict[str, list[File]] = {}
        self.changed: set[str] = set()
        self.failed: dict[str, str] = {}
        self.deleted: list[str] = []
        self.undated: list[str] = []
        self.links_out: list[str] = []
        self.deleted_count = self.undated_count = self.size = self.listed = 0
        self.cursor: str | None = None

    def take(
        self,
        source: FileSource,
        path: str,
        listed: File | None,
        known: Known | None,
        failures: Mapping[str, tuple[str, str]],
    ) -> bool:
        """Note the file; True where it is to be loaded."""
        self.listed += listed is not None
        if listed is not None and known is not None and known.file == listed and path not in failures:
            return False  # nearly every file of a big source: nothing of it needs to be worked out
        state = _judge(source, path, listed, known, failures)
        if state is None:
            if listed is not None and chosen(source, path) and day_of(source, listed) is None:
                self.undated_count += 1
                if len(self.undated) < _SHOWN:
                    self.undated.append(path.encode("utf-8", "backslashreplace").decode())
            return False
        if state.state == "deleted":
            self.deleted_count += 1
            if len(self.deleted) < _SHOWN:
                self.deleted.append(path)
            return False
        if state.state == "failed":
            self.failed[path] = state.reason
        assert listed is not None
        if known is not None and known.file.version == listed.version:
            return False
        if known is not None:
            self.changed.add(path)
        self.todo.setdefault(state.ds, []).append(listed)
        self.size += 1
        return True

    def scan(self, generations: Mapping[str, int]) -> Scan:
        if generations:
            current = {
                d: [f for f in fs if generation(f.path) >= generations[d]] for d, fs in self.todo.items()
            }
            self.todo = {day: files for day, files in current.items() if files}
        return Scan(
            {day: self.todo[day] for day in sorted(self.todo)},
            frozenset(self.changed),
            self.failed,
            tuple(self.deleted),
            self.deleted_count,
            tuple(self.undated),
            self.undated_count,
            self.listed,
            self.cursor,
            tuple(self.links_out),
        )


def chosen(source: FileSource, path: str) -> bool:
    """Whether the source's glob takes the file."""
    return source.glob == "*" or fnmatch.fnmatchcase(path[len(source.path) + 1 :], source.glob)


def day_of(source: FileSource, file: File) -> str | None:
    """The window whose run loads the file; None where it names none or the name is no text that a table can hold."""
    try:
        file.path.encode()
    except UnicodeEncodeError:
        return None
    return source.key_of(file.path, file.modified)


def generation(path: str) -> int:
    """The epoch that the name carries, 0 where it carries none."""
    found = _GENERATION.search(path)
    return int(found[1]) if found else 0


def newest_generation(files: Iterable[File]) -> list[File]:
    """The files of the newest generation; all of them where the names tell of none."""
    files = list(files)
    newest = max((generation(f.path) for f in files), default=0)
    return [file for file in files if generation(file.path) == newest]


def _raise_generation(generations: dict[str, int], source: FileSource, file: File) -> None:
    day = day_of(source, file) if chosen(source, file.path) else None
    if day is not None:
        generations[day] = max(generations.get(day, 0), generation(file.path))


def batch_hash(files: Iterable[File]) -> str:
    """Names this exact set of files: any new, changed or missing one gives another hash."""
    text = "\n".join(f"{f.path}\t{f.version}" for f in sorted(files))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
