"""The manifest: every file that a source ever loaded, by name, without reading or listing all of them each time.

The truth is in the table: its transaction numbers say which plans were committed, and those plans name the
files. The manifest is that truth folded into one list of files sorted by path, and the plans committed since. It
can be deleted at any time: it is made again from the plans.

The list is gzipped JSON lines like a plan's (`zcat` shows it), of members of a few thousand files; beside it lies
what it is of, and where each member begins. Nothing here holds more than a few members of it in memory.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.plan.load_plan import (
    PlanFile,
    lines,
    open_plan,
    plan_numbers,
    rows_of,
)
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id

FOLD_PLANS = 64
_FOLD_FILES = 20_000
MEMBER_FILES = 2_048
MEMBERS_AT_ONCE = 8
_BASE = re.compile(r"[0-9]{8}\.json")


@dataclass(frozen=True)
class Known:
    """A loaded file, as it was when it was loaded, and the day of its rows' load."""

    file: File
    ds: str


@dataclass(frozen=True)
class Base:
    """The folded list: where it lies, and each member's first path and where it begins; last the list's end."""

    path: str
    firsts: tuple[str, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """What was loaded up to now. `numbers` is each day's transaction number.

    `broken` names days that were loaded, but whose plans are gone: of them nothing is known, and a load of such
    a day must replace the rows of its files rather than add them.
    """

    lake: Lake
    source: str
    base: Base | None
    numbers: Mapping[str, int]
    broken: frozenset[str]
    _since: Mapping[str, Known] = field(repr=False)
    _replaced_days: frozenset[str] = field(repr=False)

    def entries(self, after: str = "") -> Iterator[Known]:
        """The loaded files behind `after`, in name order."""
        recent = sorted(path for path in self._since if path > after)
        position = 0
        for known in self._base_entries(after):
            while position < len(recent) and recent[position] < known.file.path:
                yield self._since[recent[position]]
                position += 1
            yield known
        yield from (self._since[path] for path in recent[position:])

    def of_days(self, days: frozenset[str] | set[str]) -> dict[str, Known]:
        """The loaded files of some days, by path. Memory grows with their number."""
        found = {known.file.path: known for known in self._base_entries(days=days)}
        return found | {path: known for path, known in self._since.items() if known.ds in days}

    def of_paths(self, paths: list[str]) -> dict[str, Known]:
        """What is known of these files, by path."""
        wanted = set(paths)
        found = {known.file.path: known for known in self._base_entries(paths=wanted)} if wanted else {}
        return found | {path: self._since[path] for path in wanted & self._since.keys()}

    def _base_entries(
        self, after: str = "", paths: Set[str] | None = None, days: Set[str] | None = None
    ) -> Iterator[Known]:
        """What the list knows behind `after`, and nobody replaced since; of all paths and days or of some."""
        low, high = (min(paths), max(paths)) if paths else (after, None)
        for rows in _members(self.lake, self.base, low, high) if self.base else ():
            for path, size, modified_us, etag, day in rows:
                if (
                    path > after
                    and (paths is None or path in paths)
                    and (days is None or day in days)
                    and path not in self._since
                    and day not in self._replaced_days
                ):
                    yield Known(File(path, size, modified_us, etag), day)


def open_manifest(lake: Lake, source: str, fold: bool = False) -> Manifest:
    """The manifest as the table says now. With `fold`, plans committed since are folded in where they are many.

    Costs one look at the table, one listing of the plans' names, and a look at each plan since the last fold; those
    that were committed are read.
    """
    now = lake.snapshot("bronze", source)
    base, told = _newest_base(lake, source)
    numbers: dict[str, int] = dict(told.get("numbers", {}))
    if any(now.number(plan_id(source, day)) < number for day, number in numbers.items()):
        base, told, numbers = None, {}, {}  # the table was restored to an earlier version
    wanted = [*told.get("open", ()), *plan_numbers(lake, source, above=told.get("examined", 0))]
    plans = {n: plan for n in wanted if (plan := open_plan(lake, source, n)) is not None}
    folded = dict(numbers)
    since: dict[str, Known] = {}
    broken, replaced, undecided = set[str](told.get("broken", ())), set[str](), set[int]()
    committed: dict[int, set[str]] = {}
    for day in sorted({day for plan in plans.values() for day in plan.previous}):
        current = now.number(plan_id(source, day))
        whole, links = _chain(plans, day, current, folded.get(day, 0))
        if whole:
            broken.discard(day)
        elif whole is None:
            broken.add(day)
        for number in links:
            committed.setdefault(number, set()).add(day)
        numbers[day] = current
        undecided |= {n for n, p in plans.items() if p.previous.get(day) == current}
    for number in sorted(committed):
        plan = plans[number].plan()
        if plan.replaces:
            replaced |= committed[number]
            since = {path: known for path, known in since.items() if known.ds not in committed[number]}
        for day in committed[number]:
            since |= {f.path: Known(f, day) for f in plan.files.get(day, ())}
    manifest = Manifest(
        lake,
        source,
        base,
        numbers,
        frozenset(broken),
        since,
        frozenset(replaced),
    )
    if fold and (len(plans) > FOLD_PLANS or len(since) > _FOLD_FILES):
        return _fold(manifest, max(plans), sorted(undecided))
    return manifest


def _chain(
    plans: Mapping[int, PlanFile], day: str, current: int, folded: int
) -> tuple[bool | None, list[int]]:
    """Committed plans of a day above what is folded; True where they begin anew, None where one is missing."""
    links: list[int] = []
    while current > folded:
        plan = plans.get(current)
        if plan is None or day not in plan.previous:
            return None, links
        links.append(current)
        if plan.replaces:
            return True, links
        current = plan.previous[day]
    return (False if current == folded else None), links


def _fold(manifest: Manifest, examined: int, undecided: list[int]) -> Manifest:
    """Write a new base that holds everything known, and drop those before the last."""
    lake, source = manifest.lake, manifest.source
    names = _bases(lake, source)
    sequence = int(names[-1][:8]) + 1 if names else 1
    content, firsts, starts = bytearray(), list[str](), [0]
    entries = manifest.entries()
    while group := list(itertools.islice(entries, MEMBER_FILES)):
        files = [(k.file, k.ds) for k in group]
        rows = lines((f.path, f.size, f.modified_us, f.etag, day) for f, day in files)
        content += gzip.compress(rows, 4, mtime=0)
        firsts.append(group[0].file.path)
        starts.append(len(content))
    path = f"{_folder(source)}/{sequence:08d}-{uuid.uuid4().hex}.jsonl.gz"
    told = {
        "examined": examined,
        "open": undecided,
        "numbers": dict(manifest.numbers),
        "broken": sorted(manifest.broken),
        "path": path,
        "firsts": firsts,
        "starts": starts,
    }
    lake.put(path, bytes(content))
    index = f"{_folder(source)}/{sequence:08d}.json"
    written = lake.put_new(index, json.dumps(told).encode())
    # It may be there because the store's answer to us was lost.
    if not written and json.loads(lake.get(index))["path"] != path:
        lake.delete(path)  # another load folded the same
        return manifest
    # Readers may be at the last one still; a later one may be on its way.
    for old in lake.names(_folder(source)) if names else ():
        if old[:8].isdigit() and old[:8] < names[-1][:8]:
            lake.delete(f"{_folder(source)}/{old}")
    base = Base(path, tuple(firsts), tuple(starts))
    return Manifest(lake, source, base, manifest.numbers, manifest.broken, {}, frozenset())


def _members(lake: Lake, base: Base, low: str, high: str | None) -> Iterator[list[list[Any]]]:
    """Rows of the members that may hold paths from `low` to `high`, member by member."""
    first = max(bisect_right(base.firsts, low) - 1, 0)
    end = len(base.firsts) if high is None else bisect_right(base.firsts, high)
    for start in range(first, end, MEMBERS_AT_ONCE):
        bounds = base.starts[start : min(start + MEMBERS_AT_ONCE, end) + 1]
        content = lake.get(base.path, bounds[0], bounds[-1] - bounds[0])
        for begin, until in itertools.pairwise(bounds):
            yield rows_of(gzip.decompress(content[begin - bounds[0] : until - bounds[0]]))


def _folder(source: str) -> str:
    return f"_manifest/{source}"


def _bases(lake: Lake, source: str) -> list[str]:
    return [name for name in lake.names(_folder(source)) if _BASE.fullmatch(name)]


def _newest_base(lake: Lake, source: str) -> tuple[Base | None, dict[str, Any]]:
    names = _bases(lake, source)
    if not names:
        return None, {}
    told = json.loads(lake.get(f"{_folder(source)}/{names[-1]}"))
    return Base(told["path"], tuple(told["firsts"]), tuple(told["starts"])), told
