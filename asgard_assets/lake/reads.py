"""What a partition was built from, as one number that can be compared with what would be read now.

An edge says which partitions of an input a partition reads. Their numbers, which grow only when rows change, are hashed.
A table that was made anew has another id, so that its numbers, which begin at 1 again, are others too.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Self

from asgard_assets.lake.numbers import publish_id, rows_of, with_foreign
from asgard_assets.windows import Calendar, Every, Window, slice_of, value_of, window_of

_INSTANT = timedelta(microseconds=1)
FIRST, LAST = "", "~"
"""Before and after every key."""


@dataclass(frozen=True)
class Edge:
    """A partition reads what of `table` lies between `back` windows before its own and `ahead` windows after it.

    None: without a limit. Windows are the reader's (`every`, in `zone`); the input may have others (`source_every`,
    `source_zone`): those that share time with them are read. An unpartitioned input is read whole, and an
    unpartitioned reader reads all there is.
    """

    table: str
    back: int | None = 0
    ahead: int | None = 0
    every: Every = "day"
    zone: str = "UTC"
    source_every: Every = "day"
    source_zone: str = "UTC"
    source_first: str = ""
    """The input's first day, where windows before it do not count as missing."""
    slices: tuple[str, ...] | None = None
    """Of an input that is cut by a second column: the values that it has to have; () where nobody knows them."""
    own_slice: bool = False
    """The reader is cut by the same column, and reads its own value."""

    @property
    def same(self) -> bool:
        """Whether both have the same windows."""
        return (self.every, self.zone) == (self.source_every, self.source_zone)

    @property
    def key_by_key(self) -> bool:
        """Whether each partition reads the one of its own name."""
        return self.same and self.back == 0 and self.ahead == 0 and self.slices is None

    def bounds(self, key: str) -> tuple[str, str]:
        """The first and the last partition of the input that may be read."""
        return _bounds(self, key)

    def within(self, key: str, ended_by: datetime) -> list[str]:
        """The input's windows within the reader's own (`key`) that have ended by then."""
        span = Calendar.named(self.zone, self.every).window(window_of(key))
        found = self._source.overlapping(span.start, span.end)
        return self.sliced([each.key for each in found if each.end <= ended_by], key)

    def sliced(self, windows: Sequence[str], key: str) -> list[str]:
        """The input's partitions of these windows that the reader's `key` needs."""
        if self.slices is None:
            return list(windows)
        values = (value_of(key),) if self.own_slice else self.slices
        return [slice_of(window, value) for window in windows for value in values]

    @property
    def _source(self) -> Calendar:
        first = date.fromisoformat(self.source_first) if self.source_first else None
        return replace(Calendar.named(self.source_zone, self.source_every), first=first)


@lru_cache(maxsize=1 << 18)
def _bounds(edge: Edge, key: str) -> tuple[str, str]:
    if not key:
        return FIRST, LAST
    first, last = _windows(edge, window_of(key))
    if edge.slices is None:
        return first, last
    if edge.own_slice:
        return slice_of(first, value_of(key)) if first else FIRST, slice_of(last, value_of(key))
    return first, f"{last}{LAST}"


def _windows(edge: Edge, key: str) -> tuple[str, str]:
    if edge.same and not edge.back and not edge.ahead and edge.back is not None and edge.ahead is not None:
        return key, key
    own = Calendar.named(edge.zone, edge.every)
    first = FIRST if edge.back is None else _edge_key(edge, own.window(own.after(key, -edge.back)), True)
    last = LAST if edge.ahead is None else _edge_key(edge, own.window(own.after(key, edge.ahead)), False)
    return first, last


def _edge_key(edge: Edge, window: Window, first: bool) -> str:
    """The first or the last of the input's windows that share time with a window of the reader."""
    if edge.same:
        return window.key
    source = Calendar.named(edge.source_zone, edge.source_every)
    return source.key_at(window.start if first else window.end - _INSTANT)


@dataclass(frozen=True)
class Stand:
    """A table's partitions at one moment: how often the rows of each changed, under the table's id."""

    table_id: str = ""
    rows: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, table_id: str, numbers: Mapping[str, int], foreign: Mapping[str, int] | None = None) -> Self:
        """By the table's numbers, and the days that other writers changed since those were written."""
        return cls(table_id, with_foreign(rows_of(numbers), foreign or {}))

    def between(self, first: str, last: str) -> list[tuple[str, int]]:
        """Keys and numbers, in order; that of an unpartitioned table always counts."""
        begin, end = bisect_left(self._keys, first), bisect_right(self._keys, last)
        keys = self._keys[begin:end]
        if begin > 0 and self._keys[0] == "":
            keys = ["", *keys]
        return [(key, self.rows[key]) for key in keys]

    def any_between(self, first: str, last: str) -> bool:
        """Whether `between` has anything, without making it: a lookup of ten years has thousands of days."""
        begin = bisect_left(self._keys, first)
        return begin < bisect_right(self._keys, last) or (begin > 0 and self._keys[0] == "")

    @cached_property
    def _keys(self) -> list[str]:
        return sorted(self.rows)


def number(text: str | bytes) -> int:
    """63 bits of a hash: as much as a transaction number holds."""
    digest = hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def read_hashes(edges: Sequence[Edge], stands: Mapping[str, Stand], keys: Iterable[str]) -> dict[str, int]:
    """For each key the hash of what it reads at these stands of its inputs."""
    keys = sorted(keys)
    parts: dict[str, list[str]] = {key: [] for key in keys}
    for edge in sorted(edges, key=lambda edge: (edge.table, str(edge.back), str(edge.ahead))):
        stand = stands.get(edge.table, Stand())
        for key, digest in _digests(edge, stand, keys).items():
            parts[key].append(f"{edge.table} {stand.table_id} {digest}")
    return {key: number("\n".join(found)) for key, found in parts.items()}


def _digests(edge: Edge, stand: Stand, keys: Sequence[str]) -> dict[str, str]:
    if edge.key_by_key and "" not in stand.rows:
        rows = stand.rows
        # A key that the input lacks may be a slice of one that it has.
        return {
            key: _digest([(key, rows[key])] if key in rows else stand.between(*edge.bounds(key)))
            for key in keys
        }
    if edge.back is not None:
        return {key: _digest(stand.between(*edge.bounds(key))) for key in keys}
    # Everything up to a key: one pass over the input for all keys.
    found, running, at = dict[str, str](), hashlib.sha256(), 0
    everything = stand.between(FIRST, LAST)
    for key in keys:
        last = edge.bounds(key)[1]
        while at < len(everything) and everything[at][0] <= last:
            running.update(_line(everything[at]))
            at += 1
        found[key] = running.hexdigest() if at else "-"
    return found


def _digest(found: Sequence[tuple[str, int]]) -> str:
    if not found:
        return "-"
    return hashlib.sha256(b"".join(map(_line, found))).hexdigest()


def _line(entry: tuple[str, int]) -> bytes:
    return f"{entry[0]}={entry[1]};".encode()


@dataclass(frozen=True)
class Reads:
    """A run's inputs, as they stood before it read the first of them; and the version of the code that reads them."""

    edges: tuple[Edge, ...] = ()
    stands: Mapping[str, Stand] = field(default_factory=dict[str, Stand])
    versions: Mapping[str, int] = field(default_factory=dict[str, int])
    code: int = 0
    outside: bool = False
    """The rows lie outside the lake: they count as changed where what they are made from did."""
    only: frozenset[str] | None = None
    """The partitions that were made from them; None: all of the commit. Others are only written again."""

    @classmethod
    def open(cls, lake: Any, edges: Iterable[Edge], code: int = 0, outside: bool = False) -> Self:
        """Open each input once. Its version is what the run has to read."""
        chosen = tuple(edges)
        stands, versions = dict[str, Stand](), dict[str, int]()
        for table in sorted({edge.table for edge in chosen}):
            snapshot = lake.snapshot(*table.split("/", 1))
            stands[table] = Stand.of(snapshot.table_id, snapshot.numbers, snapshot.foreign)
            versions[table] = snapshot.version
        return cls(chosen, stands, versions, code, outside)

    def hashes(self, table: str, own: Stand, keys: Sequence[str]) -> dict[str, int]:
        """The read hash of each key; `own` is the written table as this commit leaves it."""
        return read_hashes(self.edges, {**self.stands, table: own}, keys)

    def listed(self) -> dict[str, Any]:
        """As JSON: the inputs and their numbers."""
        return {
            table: {"id": stand.table_id, "version": self.versions.get(table, -1), "rows": dict(stand.rows)}
            for table, stand in self.stands.items()
        }


def published(numbers: Mapping[str, int], key: str) -> bool:
    """Whether a partition was ever published, by the table's transaction numbers."""
    return numbers.get(publish_id(key), 0) > 0
